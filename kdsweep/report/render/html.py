"""report.html: one file that opens without a network, plotly's script in it once."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.analysis.statistics import ALPHA, METHOD
from kdsweep.report.cell_table import cell_row
from kdsweep.report.formatting import difference, mean_and_sd
from kdsweep.report.report import Report
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import FONT, INK

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TEXTS = {"cell", "status", "why"}  # columns of text, which are set flush left
TEMPLATE = "page.html.j2"
SHOWN = 40  # cells of the table; further ones are folded away
MINUS = re.compile(r"(?<![\w=.,/-])-(?=\d)")
WITHOUT_BUTTONS = ["select2d", "lasso2d", "autoScale2d"]


@dataclass(frozen=True)
class Entry:
    """A figure of the table as text, and the value that it is sorted by."""

    text: str
    value: float | None = None


def page(report: Report, plotly_js: str | None = None) -> str:
    """The whole page, about 5 MB.

    Args:
        plotly_js: the script that draws the figures; by default that of the installed plotly.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment: Any = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    if not any(section.figures for section in report.sections):
        plotly_js = ""
    elif plotly_js is None:
        from plotly.offline import get_plotlyjs

        plotly_js = get_plotlyjs()
    links, cells = report.collection.links, report.grid.cells
    text: str = environment.get_template(TEMPLATE).render(
        name=report.name,
        sentences=report.conclusions,
        lines=[_line(cell, links) for cell in cells],
        shown=SHOWN,
        sections=[_section(section, number) for number, section in enumerate(report.sections)],
        plotly=Markup(plotly_js),
        runs=sum(len(cell.rows) for cell in cells),
        folded=sum(row["same_as"] is not None for row in report.collection.rows),
        cells=len(cells),
        seeds=report.grid.seeds,
        alpha=f"{ALPHA:g}",
        method=METHOD,
        texts=TEXTS,
        compared=bool(report.grid.baselines),
        links=bool(links),
    )
    return text


def typeset(text: str) -> str:
    """A sentence or a figure as in print: `+- 0.3` as `± 0.3`, `-0.3` with a true minus.

    A minus within a word or after `=` is part of a name and stays.
    """
    return MINUS.sub("\N{MINUS SIGN}", text.replace("+-", "±"))


def _line(cell: Cell, links: Mapping[str, str]) -> dict[str, Any]:
    row, against = cell_row(cell), cell.against_baseline
    return {
        "name": row.name,
        "n": row.n,
        "val": Entry(mean_and_sd(cell.val, " ± "), cell.val.mean if cell.val else None),
        "test": Entry(mean_and_sd(cell.test, " ± "), cell.test.mean if cell.test else None),
        "difference": Entry(difference(against), against.difference if against else None),
        "p": Entry(row.p, against.p_corrected if against else None),
        "verdict": row.verdict,
        "to_best": row.to_best,
        "runs": [
            {
                "seed": "?" if run["seed"] is None else str(run["seed"]),
                "status": str(run["status"]),
                "link": links.get(str(run.get("mlflow_run_id"))),
            }
            for run in cell.rows
        ],
    }


def _section(section: Section, number: int) -> dict[str, Any]:
    return {
        "id": f"section-{number}",
        "title": section.title,
        "sentences": section.sentences,
        "tables": section.tables,
        "figures": [
            _division(figure, f"figure-{number}-{place}")
            for place, figure in enumerate(section.figures)
        ],
        "pictures": [
            (
                f"data:image/png;base64,{b64encode(picture.path.read_bytes()).decode()}",
                picture.caption,
            )
            for picture in section.pictures
        ],
    }


def _division(figure: "Figure", name: str) -> Any:
    from markupsafe import Markup

    figure.update_layout(font={"family": FONT, "color": INK})
    options = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": WITHOUT_BUTTONS,
    }
    division = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options)
    return Markup(division)
