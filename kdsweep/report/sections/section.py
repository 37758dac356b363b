"""A section of the report: sentences first, then the tables and figures behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

Figure = Any  # of plotly, which has no types and is imported when something is drawn
Line = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names the row, the others are figures."""

    header: Line
    rows: Sequence[Line]
    note: str = ""  # how to read it

    def without_empty_columns(self) -> "Table":
        """The same table without the columns that are empty in every row."""
        kept = [any(row[place] for row in self.rows) for place in range(len(self.header))]
        rows = [tuple(compress(row, kept)) for row in self.rows]
        return replace(self, header=tuple(compress(self.header, kept)), rows=rows)


@dataclass(frozen=True)
class Picture:
    """A PNG file and its caption."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """What one module adds to the report; report.md has all of it but the figures."""

    title: str
    sentences: list[str]
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
