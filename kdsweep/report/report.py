"""All that a report says of a sweep, before it is a page, a text or a table."""

import logging
from dataclasses import dataclass
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
    unfinished,
)
from kdsweep.report.sections.section import Section
from kdsweep.report.sources.collection import RunCollection

log = logging.getLogger(__name__)


class Part(Protocol):
    """A module that makes a section."""

    TITLE: str

    def section(self, collection: RunCollection, grid: Grid) -> Section | None:
        """What it has to say; None where it does not apply."""


PARTS: tuple[Part, ...] = (  # in the order of the page
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
    unfinished,
)


@dataclass(frozen=True)
class Report:
    """What was found, and what was made of it."""

    collection: RunCollection
    grid: Grid
    sections: list[Section]

    @property
    def name(self) -> str:
        """Of the sweep, as on its command line."""
        return self.collection.name

    @property
    def conclusions(self) -> list[str]:
        """The sentences, the most important first."""
        return conclusions(self.grid, self.collection.missing)


def report(collection: RunCollection) -> Report:
    """Everything that can be said of these runs."""
    cells = grid(collection.rows)
    found = [_section(part, collection, cells) for part in PARTS]
    return Report(collection, cells, [section for section in found if section is not None])


def _section(part: Part, collection: RunCollection, cells: Grid) -> Section | None:
    """A part that fails says so in its place: no figure is worth the answer."""
    try:
        return part.section(collection, cells)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("report: %s could not be made: %s", part.TITLE, reason)
        log.debug("report: %s", part.TITLE, exc_info=True)
        return Section(part.TITLE, [f"This part could not be made ({reason})."])
