"""report.html: one file that opens without a network, plotly's script in it once."""

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.analysis.statistics import ALPHA, METHOD
from kdsweep.report.cell_table import cell_row
from kdsweep.report.formatting import difference, mean_and_sd
from kdsweep.report.report import Report
from kdsweep.report.sections.section import Figure
from kdsweep.report.sections.style import FONT, INK

TEXTS = {"cell", "status", "why"}  # columns of text, which are set flush left
TEMPLATE = "page.html.j2"
SHOWN = 40  # cells of the table; further ones are folded away
MINUS = re.compile(r"(?<![\w=.,/-])-(?=\d)")
WITHOUT_BUTTONS = ["select2d", "lasso2d", "autoScale2d"]


def page(report: Report, plotly_js: str | None = None) -> str:
    """The whole page, about 5 MB; ``plotly_js`` is by default the installed plotly's script."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment: Any = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"typeset": typeset, "division": _division, "base64": b64encode}
    if not any(section.figures for section in report.sections):
        plotly_js = ""
    elif plotly_js is None:
        from plotly.offline import get_plotlyjs

        plotly_js = get_plotlyjs()
    links, cells = report.collection.links, report.grid.cells
    text: str = environment.get_template(TEMPLATE).render(
        report=report,
        lines=[_line(cell, links) for cell in cells],
        shown=SHOWN,
        plotly=Markup(plotly_js),
        runs=sum(len(cell.rows) for cell in cells),
        folded=sum(row["same_as"] is not None for row in report.collection.rows),
        alpha=f"{ALPHA:g}",
        method=METHOD,
        texts=TEXTS,
        compared=bool(report.grid.baselines),
    )
    return text


def typeset(text: str) -> str:
    """A sentence or a figure as in print: `+- 0.3` as `± 0.3`, `-0.3` with a true minus.

    A minus within a word or after `=` is part of a name and stays.
    """
    return MINUS.sub("\N{MINUS SIGN}", text.replace("+-", "±"))


def _line(cell: Cell, links: Mapping[str, str]) -> dict[str, Any]:
    """A cell's row, its figures each with the value that they are sorted by."""
    row, against = cell_row(cell), cell.against_baseline
    return {
        "row": row,
        "measured": [
            (mean_and_sd(cell.val, " ± "), cell.val.mean if cell.val else None),
            (mean_and_sd(cell.test, " ± "), cell.test.mean if cell.test else None),
        ],
        "compared": [
            (difference(against), against.difference if against else None),
            (row.p, against.p_corrected if against else None),
        ],
        "runs": [(run, links.get(str(run.get("mlflow_run_id")))) for run in cell.rows],
    }


def _division(figure: Figure, name: str) -> Any:
    from markupsafe import Markup

    figure.update_layout(font={"family": FONT, "color": INK})
    options = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": WITHOUT_BUTTONS}
    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options)
    )
