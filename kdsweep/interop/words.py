"""The words of another repository's command line: the program, and the options by their names."""

import re
from collections.abc import Sequence
from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.interop.options import CommandLine, Given, one_of

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
SCRIPTS = (".py", ".sh")
PYTHON = re.compile(r"(.*/)?python[\d.]*")
OPTION = re.compile(r"-{1,2}[A-Za-z]")  # -0.5 is a number


def split_program(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What precedes the options in `python train_student.py --alpha 0.9`, and the options.

    The first part is empty for options alone. `python -m trainer` is a program, too.
    """
    if words and PYTHON.fullmatch(words[0]) and "-m" in words[1:2]:
        return [*words[:3]], [*words[3:]]
    scripts = [i for i, word in enumerate(words) if word.endswith(SCRIPTS) and "=" not in word]
    end = scripts[0] + 1 if scripts else 0
    return [*words[:end]], [*words[end:]]


def launcher(program: Sequence[str]) -> list[str]:
    """The words of a program besides Python and its script, as of `torchrun --nproc 4 train.py`."""
    if program[1:2] == ["-m"]:
        return []
    return [word for word in program[:-1] if not PYTHON.fullmatch(word)]


def parse_options(words: Sequence[str], command: CommandLine) -> Given:
    """Names and texts of options, in any of the forms alpha=0.9, --alpha 0.9 and alpha 0.9.

    The text of a flag is empty. A name may have dashes before it, and - for _ inside of it; an
    alias stands for the name that it is of.

    Raises UserError for an option without a value, and for one that is given twice.
    """
    given: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, separator, text = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if not separator and name not in command.flags:
            name, text = _with_value(word, name, rest, command)
        name = command.aliases.get(name, name)
        if name in given:
            raise UserError(f"{name} must be given once, got {given[name]} and {text}")
        given[name] = text
    return given


def _with_value(word: str, name: str, rest: list[str], command: CommandLine) -> tuple[str, str]:
    """The name of an option and its value, taken from the words after it."""
    values: list[str] = []
    while rest and not OPTION.match(rest[0]) and (not values or name in command.lists):
        values.append(rest.pop(0))
    known = bool(OPTION.match(word)) or command.accepts(name)
    if values and (known or not command.positional):
        return name, " ".join(values)
    rest[:0] = values
    if known:
        raise UserError(f"{name} must have a value, {name}=...")
    if Path(word).suffix in CHECKPOINTS:
        raise UserError(
            f"an option must be NAME=VALUE, got {word}; these are weights of losses, a"
            f" checkpoint is given as it is: teacher.checkpoint={word}"
        )
    if not command.positional:
        one_of("an option", word, [*command.values, *command.aliases, *command.flags])
    return command.positional, word
