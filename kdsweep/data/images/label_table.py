"""Tables of labels next to the images: a csv file of (file, label[, split])."""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from kdsweep.common.notices import warn_once
from kdsweep.common.pacing import with_lines
from kdsweep.data.images.content import Part
from kdsweep.data.images.entries import folder_names
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.images.formats import image_endings
from kdsweep.data.images.layout import IMAGES, PARTS, part_named, tables_in

# The names of columns in published tables, in lower case and without spaces, - and _.
FILE = (
    *("file", "filename", "filepath", "path", "image", "imagepath", "imagename", "imagefile"),
    *("imageid", "img", "imgpath", "imgname"),
)
LABEL = ("label", "class", "classname", "labelname", "category", "labels", "target", "classid")
SPLIT = ("split", "subset", "set", "partition")
ENDINGS = (".jpg", ".jpeg", ".png")  # of files that are listed without theirs
WINDOWS = "\\"  # between the folders of a path
KEY = "dataset.source.csv"


class Columns(NamedTuple):
    """The positions of the columns that are read."""

    file: int
    label: int
    split: int | None
    has_header: bool


class Row(NamedTuple):
    path: Path
    label: str
    part: str
    where: str  # `labels.csv, line 7`


def find_tables(home: Path, given: str | None) -> list[Path]:
    """The given table, or those of the parts (`train.csv`, `test.csv`), or all that there are.

    Raises ValueError if the given one does not exist.
    """
    if given is not None:
        path = home / Path(given).expanduser()
        if not path.is_file():
            raise ValueError(f"{KEY} must be a table in {home}, got {given}, which does not exist")
        return [path]
    tables = tables_in(home)
    of_parts = {part: path for path in tables if (part := part_named(path.stem)) is not None}
    return list(of_parts.values()) if "train" in of_parts else tables


def read_tables(
    tables: Sequence[Path], home: Path, folders: Mapping[str, Path]
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """The images of each part and the names of the classes, in the order of class folders.

    Paths may be relative to the root, the table, the part's folder or any folder in the root, with
    or without their ending.

    Raises ValueError, naming the table and the line, for a file that is missing or listed twice, a
    missing label, an unknown split, and a class that train lacks.
    """
    if len(tables) > 1 and any(part_named(path.stem) is None for path in tables):
        listed = ", ".join(path.name for path in tables)
        raise ValueError(f"{KEY} must name one of the tables in {home} ({listed}), got null")
    finder = ImageFinder(home, folders)
    rows = [row for table in tables for row in _rows(table, finder)]
    _refuse_twice(rows)
    names = _class_names([row.label for row in rows if row.part == "train"], tables)
    number = {name: label for label, name in enumerate(names)}
    if odd := next((row for row in rows if row.label not in number), None):
        raise ValueError(
            f"{KEY} must have training images of every class, got none of {odd.label!r}"
            f" ({odd.where})"
        )
    parts = {}
    for part in PARTS:
        # In the order of class folders, whatever that of the rows is.
        own = sorted((number[row.label], row.path) for row in rows if row.part == part)
        if own:
            files = ImageFiles(home, [path for _, path in own])
            parts[part] = Part(files, [label for label, _ in own])
    return parts, names


def lists_images(table: Path, home: Path) -> bool:
    """Whether a table has a column of images and one of labels."""
    try:
        _columns(table, _records(table), ImageFinder(home, {}))
    except ValueError:
        return False
    return True


class ImageFinder:
    """Finds the files that tables name."""

    def __init__(self, home: Path, folders: Mapping[str, Path]) -> None:
        self.home, self._folders = home, folders

    def find(self, text: str, part: str | None, table: Path) -> Path | None:
        """The file, below the root; None if there is none."""
        has_ending = Path(text).suffix.lower() in image_endings()
        for ending in ("",) if has_ending else ("", *ENDINGS):
            for base in self._bases(part, table):
                path = base / f"{text.replace(WINDOWS, '/')}{ending}"
                if os.path.isfile(path):  # a name may be too long to be one
                    return Path(os.path.normpath(path))
        return None

    def _bases(self, part: str | None, table: Path) -> dict[Path, None]:
        own = _with_images(self._folders.get(part or "train"))
        here = [self.home, table.parent]
        first = [*here, *own] if part is None else [*own, *here]
        return dict.fromkeys([*first, *self._others])

    @cached_property
    def _others(self) -> list[Path]:
        names = [name for name in folder_names(self.home) if part_named(name) is None]
        return [folder for name in names for folder in _with_images(self.home / name)]


def _with_images(folder: Path | None) -> list[Path]:
    return [] if folder is None else [folder, folder / IMAGES]


def _records(table: Path) -> list[tuple[int, list[str]]]:
    """The lines of a table that are not empty, with their numbers."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{KEY} must be a table in UTF-8, got {table}") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        cells = [(lines.line_num, [cell.strip() for cell in line]) for line in lines]
    except csv.Error as error:
        raise ValueError(f"{KEY} must be a table that can be read, got {table}: {error}") from error
    records = [(number, line) for number, line in cells if any(line)]
    if not records:
        raise ValueError(f"{KEY} must be a table of files and labels, got {table}, which is empty")
    return records


def _columns(table: Path, records: Sequence[tuple[int, list[str]]], finder: ImageFinder) -> Columns:
    """The columns of files, labels and splits: by their names in the first line, or by content."""
    first = records[0][1]
    names = [re.sub("[^a-z]", "", cell.lower()) for cell in first]
    file, has_header = _named(FILE, names), True
    if file is None:
        files = [_column_of_files(table, line, finder) for _, line in records[:2]]
        file, has_header = (files[0], False) if files[0] is not None else (files[-1], True)
    if file is None:
        raise ValueError(
            f"{KEY} must have a column of files in {finder.home} (file, filename, path or image),"
            f" got {table.name} with {', '.join(first)}"
        )
    others = [column for column, cell in enumerate(first) if column != file and cell]
    split = _named(SPLIT, names) if has_header else _column_of_splits(records, others)
    label = _named(LABEL, names) if has_header else None
    left = [column for column in others if column != split]
    if label is None and len(left) == 1:
        (label,) = left
    if label is None:
        raise ValueError(
            f"{KEY} must have one column of labels (label or class), got {table.name} with"
            f" {', '.join(first)}"
        )
    return Columns(file, label, split, has_header)


def _named(known: Sequence[str], names: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _column_of_files(table: Path, line: Sequence[str], finder: ImageFinder) -> int | None:
    columns = (n for n, cell in enumerate(line) if cell and finder.find(cell, None, table))
    return next(columns, None)


def _column_of_splits(
    records: Sequence[tuple[int, list[str]]], columns: Sequence[int]
) -> int | None:
    for column in columns:
        if all(len(line) > column and part_named(line[column]) for _, line in records):
            return column
    return None


def _rows(table: Path, finder: ImageFinder) -> Iterator[Row]:
    records = _records(table)
    columns = _columns(table, records, finder)
    file, label, split, has_header = columns
    _explain(table, columns, records[0][1])
    width, missing = max(file, label, split or 0), []
    rows = records[has_header:]
    for number, line in with_lines(rows, f"looking for the images of {table.name}"):
        where = f"{table.name}, line {number}"
        if len(line) <= width or not line[label] or not line[file]:
            raise ValueError(f"{KEY} must have a file and a label in every line, got {where}")
        part = part_named(table.stem)
        if split is not None and (part := part_named(line[split])) is None:
            raise ValueError(
                f"{KEY} must have train, val or test as splits, got {line[split]!r} ({where})"
            )
        path = finder.find(line[file], part, table)
        if path is None:
            missing.append(f"{line[file]!r} ({where})")
        elif not path.is_relative_to(finder.home):
            raise ValueError(f"{KEY} must list files in {finder.home}, got {path} ({where})")
        else:
            folder = path.relative_to(finder.home).parts[0]
            yield Row(path, line[label], part or part_named(folder) or "train", where)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{KEY} must list files that exist, got {missing[0]}{more}")


def _explain(table: Path, columns: Columns, first: Sequence[str]) -> None:
    """Log how a table is read."""
    used = {"files": columns.file, "labels": columns.label, "splits": columns.split}
    named = [
        f"{what} from {first[n] if columns.has_header else f'column {n + 1}'}"
        for what, n in used.items()
        if n is not None
    ]
    warn_once(f"dataset.root: images and labels are those of {table}, {', '.join(named)}")


def _refuse_twice(rows: Sequence[Row]) -> None:
    seen: dict[Path, Row] = {}
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is not row:
            raise ValueError(
                f"{KEY} must list every file once, got {row.path} in {first.where} and {row.where}"
            )


def _class_names(labels: Sequence[str], tables: Sequence[Path]) -> tuple[str, ...]:
    """The labels, sorted: as numbers if all of them are."""
    names = {*labels}
    if len(names) < 2:
        listed = ", ".join(path.name for path in tables)
        raise ValueError(
            f"{KEY} must have training images of at least 2 classes, got {len(names)} in {listed}"
        )
    are_numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if are_numbers else 0, name)))
