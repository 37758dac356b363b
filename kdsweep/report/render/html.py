"""report.html: one file that opens without a network, plotly's script in it once."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.report.analysis.aggregate import Cell
from kdsweep.report.analysis.statistics import ALPHA, Summary
from kdsweep.report.conclusions import METHOD, p_value, points, to_best
from kdsweep.report.report import Report
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.style import FONT, INK

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TEXTS = {"cell", "status", "why"}  # columns of words, beside those of figures
TEMPLATE = "page.html.j2"
SHOWN = 40  # cells of the table; further ones are folded away
MINUS = re.compile(r"(?<![\w=.,/-])-(?=\d)")
WITHOUT_BUTTONS = ["select2d", "lasso2d", "autoScale2d"]


@dataclass(frozen=True)
class Run:
    """A run as its cell's row names it: by its seed."""

    seed: str
    status: str
    link: str | None  # its page in MLflow


@dataclass(frozen=True)
class Entry:
    """A figure of the table as it is read, and as it is sorted."""

    text: str
    value: float | None = None


def page(found: Report) -> str:
    """The whole page, about 5 MB."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment: Any = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    drawn = any(section.figures for section in found.sections)
    text: str = environment.get_template(TEMPLATE).render(
        name=found.name,
        sentences=found.conclusions,
        lines=[_line(cell, found.collection.links) for cell in found.grid.cells],
        shown=SHOWN,
        sections=[_section(section, number) for number, section in enumerate(found.sections)],
        plotly=_plotly() if drawn else "",
        runs=sum(len(cell.rows) for cell in found.grid.cells),
        folded=sum(row["same_as"] is not None for row in found.collection.rows),
        cells=len(found.grid.cells),
        seeds=found.grid.seeds,
        alpha=f"{ALPHA:g}",
        method=METHOD,
        texts=TEXTS,
        compared=bool(found.grid.baselines),
        links=bool(found.collection.links),
    )
    return text


def typeset(text: str) -> str:
    """A sentence or a figure as print has it: `+- 0.3` as `± 0.3`, `-0.3` with a true minus.

    A minus within a word or after `=` is part of a name and stays.
    """
    return MINUS.sub("\N{MINUS SIGN}", text.replace("+-", "±"))


def _line(cell: Cell, links: Mapping[str, str]) -> dict[str, Any]:
    against = cell.against_baseline
    p = against.p_corrected if against else None
    difference = against.difference if against else None
    return {
        "name": cell.name,
        "n": cell.test.n if cell.test else 0,
        "val": _mean_and_sd(cell.val),
        "test": _mean_and_sd(cell.test),
        "difference": Entry(points(against) if against else "", difference),
        "p": Entry("" if p is None else p_value(p).removeprefix("= "), p),
        "verdict": (against.verdict or "") if against else "",
        "to_best": to_best(cell),
        "runs": [_run(row, links) for row in cell.rows],
    }


def _mean_and_sd(found: Summary | None) -> Entry:
    if found is None:
        return Entry("")
    sd = "" if found.sd is None else f" ± {100 * found.sd:.2f}"
    return Entry(f"{100 * found.mean:.2f}{sd}", found.mean)


def _run(row: Mapping[str, Any], links: Mapping[str, str]) -> Run:
    seed = "?" if row["seed"] is None else str(row["seed"])
    return Run(seed, str(row["status"]), links.get(str(row.get("mlflow_run_id"))))


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
        "pictures": [(_inline(picture.path), picture.caption) for picture in section.pictures],
    }


def _plotly() -> Any:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _division(figure: "Figure", name: str) -> Any:
    from markupsafe import Markup

    figure.update_layout(font={"family": FONT, "color": INK})
    return Markup(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=name,
            config={
                "displaylogo": False,
                "responsive": True,
                "modeBarButtonsToRemove": WITHOUT_BUTTONS,
            },
        )
    )


def _inline(path: Path) -> str:
    return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
