"""The report of a sweep on disk and on the terminal, from its run folders."""

from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.errors import UserError
from kdsweep.report.answer import HEADER, NOTE, answer, brief, lines
from kdsweep.report.cells import Grid, grid
from kdsweep.tracking.files import read_json, write_text_atomic
from kdsweep.tracking.results import collect, write_csv

if TYPE_CHECKING:
    from rich.console import Console


def latest(home: Path = Path("multirun")) -> Path:
    """The folder of the sweep that began last.

    Raises:
        UserError: if there is none.
    """
    notes = [(read_json(path)["created"], path.parent) for path in home.glob("**/sweep.json")]
    if not notes:
        raise UserError(f"SWEEP must be a sweep's folder, got none, and {home} holds none")
    return max(notes)[1]


def write_report(folder: Path) -> Grid:
    """Write report.md and results.csv into a sweep's folder; the cells it tells of.

    Raises:
        UserError: if the folder holds no sweep.
    """
    if not (folder / "sweep.json").is_file():
        raise UserError(f"SWEEP must be a sweep's folder, got {folder}, which has no sweep.json")
    rows = collect(folder)
    found = grid(rows)
    write_csv(rows, folder / "results.csv")
    write_text_atomic(
        folder / "report.md", markdown(read_json(folder / "sweep.json")["name"], found)
    )
    return found


def markdown(name: str, found: Grid) -> str:
    """The report as a page."""
    table = [HEADER, tuple("---" for _ in HEADER), *lines(found)]
    rows = [f"| {' | '.join(row)} |" for row in table]
    sentences = [f"- {sentence}" for sentence in answer(found)]
    return "\n".join([f"# {name}", "", *sentences, "", *rows, "", NOTE, ""])


def show(found: Grid, console: "Console") -> None:
    """Print the answer, and the table of cells."""
    from rich.markup import escape
    from rich.table import Table

    rows, table = brief(found), Table()
    for name in rows[0] if rows else ():
        table.add_column(
            name, justify="left" if name == "cell" else "right", no_wrap=name != "cell"
        )
    for row in rows:
        table.add_row(*map(escape, row.values()))
    if rows:
        console.print(table)
    for sentence in answer(found):
        console.print(escape(sentence), soft_wrap=False)
