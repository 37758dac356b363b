"""The report of a sweep: its files, and what the terminal says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdsweep.common.files import write_text_atomic
from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.conclusions import brief
from kdsweep.report.render.html import page
from kdsweep.report.render.latex import tex
from kdsweep.report.render.markdown import markdown
from kdsweep.report.report import Report, report
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.results_table import write_csv

if TYPE_CHECKING:
    from rich.console import Console

PAGE, TEXT, ROWS, TABLE = FILES = ("report.html", "report.md", "results.csv", "table.tex")


def write_report(collection: RunCollection) -> Report:
    """Write `FILES` into the home of the evidence; what they say.

    Raises:
        OSError: if a file cannot be written.
    """
    found, home = report(collection), collection.home
    home.mkdir(parents=True, exist_ok=True)
    write_csv(collection.rows, home / ROWS)
    write_text_atomic(home / TEXT, markdown(found))
    write_text_atomic(home / TABLE, tex(found.grid))
    write_text_atomic(home / PAGE, page(found))
    return found


def show(
    cells: Grid, sentences: Sequence[str], console: "Console", *, with_table: bool = True
) -> None:
    """Print the table of cells, if it is asked for, and the answer."""
    from rich.markup import escape
    from rich.table import Table

    rows, table = brief(cells), Table()
    for name in rows[0] if rows else ():
        table.add_column(
            name, justify="left" if name == "cell" else "right", no_wrap=name != "cell"
        )
    for row in rows:
        table.add_row(*map(escape, row.values()))
    if rows and with_table:
        console.print(table)
        console.print(
            "n seeds: mean ± sample sd on test, in percent; vs ce in points.", style="dim"
        )
    for sentence in sentences:
        console.print(escape(sentence), soft_wrap=False)
