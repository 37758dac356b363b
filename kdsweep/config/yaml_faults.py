"""What is wrong with a yaml file that Hydra cannot read, and which file it is."""

from pathlib import Path
from traceback import walk_tb

SOURCE = "hydra._internal.core_plugins.file_config_source"  # of the frame that reads a file


def yaml_fault(error: BaseException) -> str | None:
    """`conf/loss/mine.yaml, line 3: found a tab`, or None if no file was being read."""
    if (file := _file_being_read(error)) is None:
        return None
    if isinstance(error, UnicodeDecodeError):
        return f"{file}: it is no text in UTF-8"
    if (mark := getattr(error, "problem_mark", None)) is None:  # of PyYAML's errors
        return f"{file}: {_problem(error)}"
    has_tab = "\t" in _line(file, mark.line)
    tab = "it must be indented with spaces, and a tab was found"
    return f"{file}, line {mark.line + 1}: {tab if has_tab else _problem(error)}"


def _file_being_read(error: BaseException) -> Path | None:
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == SOURCE and "full_path" in frame.f_locals:
            return Path(frame.f_locals["full_path"])
    return None


def _line(file: Path, number: int) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[number] if number < len(lines) else ""


def _problem(error: BaseException) -> str:
    """What PyYAML, or whatever reads a file, finds wrong, on one line."""
    given = getattr(error, "problem", None) or getattr(error, "reason", None)
    line = " ".join(str(given or error or type(error).__name__).split())
    if "could not determine a constructor" in line:
        tag = line.rpartition(" ")[2]
        return f"it must hold no tag of Python's, and {tag} was found"
    return line
