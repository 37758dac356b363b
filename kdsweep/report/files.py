"""The files of a report, and its summary on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdsweep.common.files import write_text_atomic
from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.cell_table import terminal_table
from kdsweep.report.render.html import page
from kdsweep.report.render.latex import tex
from kdsweep.report.render.markdown import markdown
from kdsweep.report.report import Report, report
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.printing import print_table
from kdsweep.tracking.results_table import CSV, REPORT, write_csv

if TYPE_CHECKING:
    from rich.console import Console

TEXT, TABLE = "report.md", "table.tex"
FILES = (REPORT, TEXT, CSV, TABLE)


def write_report(collection: RunCollection) -> Report:
    """Write `FILES` into a collection's folder. Raises OSError if that is impossible."""
    made, folder = report(collection), collection.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(collection.rows, folder / CSV)
    write_text_atomic(folder / TEXT, markdown(made))
    write_text_atomic(folder / TABLE, tex(made.grid))
    write_text_atomic(folder / REPORT, page(made))
    return made


def show(
    grid: Grid, sentences: Sequence[str], console: "Console", *, with_table: bool = True
) -> None:
    """Print the table of cells, unless it is not wanted, and the conclusions."""
    from rich.markup import escape
    from rich.table import Table

    cells = terminal_table(grid)
    if cells.rows and with_table:
        table = Table()
        for name in cells.header:
            is_name = name == "cell"
            table.add_column(name, justify="left" if is_name else "right", no_wrap=not is_name)
        for row in cells.rows:
            table.add_row(*map(escape, row))
        print_table(console, table)
        console.print(cells.note, style="dim")
    for sentence in sentences:
        console.print(escape(sentence), soft_wrap=False)
