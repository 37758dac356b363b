"""A part of the report: sentences first, then what shows them."""

from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Line = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names the row, the others are figures."""

    header: Line
    rows: list[Line]
    note: str = ""  # how to read it

    def without_empty_columns(self) -> "Table":
        """The same table, but for the columns that no row has anything in."""
        told = [any(row[place] for row in self.rows) for place in range(len(self.header))]
        rows = [tuple(compress(row, told)) for row in self.rows]
        return replace(self, header=tuple(compress(self.header, told)), rows=rows)


@dataclass(frozen=True)
class Picture:
    """A PNG file, and what it shows, in words."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """What one module of the report has to say; report.md has all of it but the figures."""

    title: str
    sentences: list[str]
    tables: list[Table] = field(default_factory=list)
    figures: list["Figure"] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
