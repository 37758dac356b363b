"""The comparison as a Markdown table, and its place in docs/losses.md."""

from pathlib import Path
from typing import NamedTuple

from authors.comparison import Errors, Row

DOC = Path(__file__).parents[2] / "docs" / "losses.md"
BEGIN, END = "<!-- benchmarks/compare_with_authors.py -->", "<!-- end of the table -->"
HEAD = [
    "| loss | compared with | value, fp64 | gradient, fp64 | value, fp32 | gradient, fp32 |",
    "|---|---|---|---|---|---|",
]


class Compared(NamedTuple):
    """A row with what was measured."""

    row: Row
    double: Errors
    single: Errors


def table(compared: list[Compared]) -> str:
    return "\n".join([*HEAD, *map(line, compared)])


def line(compared: Compared) -> str:
    row, double, single = compared
    cells = [f"`{row.loss}`", source(row), *map(number, (*double, *single))]
    return f"| {' | '.join(cells)} |"


def source(row: Row) -> str:
    """The linked files, the name of the repository before the first, and the note."""
    links = []
    if row.repository is not None:
        links = [f"[{path}]({row.repository.url(path)})" for path in row.paths]
        links[0] = f"{row.repository.name} {links[0]}"
    return ", ".join([*links, *([row.note] if row.note else [])])


def number(error: float) -> str:
    return f"{error:.0e}" if error else "0"


def write(text: str, doc: Path = DOC) -> None:
    """Replaces the table between the two markers."""
    before, after = doc.read_text().split(BEGIN)[0], doc.read_text().split(END)[1]
    doc.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
