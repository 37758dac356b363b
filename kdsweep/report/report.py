"""A report on a sweep, before it is rendered as a page, a text or a table."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from kdsweep.report.analysis.aggregate import Grid, grid
from kdsweep.report.conclusions import conclusions
from kdsweep.report.sections import (
    calibration,
    comparisons,
    distilled,
    heatmap,
    importance,
    interaction,
    learning_curves,
    overfitting,
    pareto,
    response,
    selection_bias,
    shipped,
    unfinished,
)
from kdsweep.report.sections.section import Section
from kdsweep.report.sources.collection import RunCollection

log = logging.getLogger(__name__)


class SectionModule(Protocol):
    """A module that makes a section."""

    TITLE: str

    def section(self, collection: RunCollection, grid: Grid) -> Section | None:
        """The section; None where it does not apply."""


SECTIONS: tuple[SectionModule, ...] = (  # in the order of the page
    heatmap,
    response,
    interaction,
    importance,
    comparisons,
    selection_bias,
    learning_curves,
    overfitting,
    pareto,
    calibration,
    distilled,
    shipped,
    unfinished,
)


@dataclass(frozen=True)
class Report:
    """The runs of a sweep and their analysis."""

    collection: RunCollection
    grid: Grid
    sections: list[Section]

    @cached_property
    def conclusions(self) -> list[str]:
        """The sentences, the most important first."""
        return conclusions(self.grid, self.collection.missing)


def report(collection: RunCollection) -> Report:
    """The report on a collection of runs; all statistical tests are computed here, once."""
    cells = grid(collection.rows)
    sections = []
    for module in SECTIONS:
        try:
            section = module.section(collection, cells)
        except Exception as error:  # no figure is worth losing the report
            reason = f"{type(error).__name__}: {error}"
            log.warning("report: %s could not be made: %s", module.TITLE, reason)
            log.debug("report: %s", module.TITLE, exc_info=True)
            section = Section(module.TITLE, [f"This part could not be made ({reason})."])
        if section is not None:
            sections.append(section)
    return Report(collection, cells, sections)
