"""Answers as lines of text: a table, CSV, or JSON lines."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kdsweep.common.text import escape_unprintable
from kdsweep.deploy.predict import Answer
from kdsweep.deploy.predictions import Prediction

TEACHER = "teacher"
MAX_WIDTH = 60  # of the files in a table: longer ones are not cut, they move their row


@dataclass(frozen=True)
class Layout:
    """What the columns are.

    Attributes:
        files: all that will be answered, for the width of the column.
        classes: their names.
        top: classes of each image, at most.
        has_teacher: whether each answer has that of a teacher, too.
        label_of: the true class of a file, by its folder; None if no file has one.
    """

    files: Sequence[str]
    classes: Sequence[str]
    top: int
    has_teacher: bool
    label_of: Callable[[str], str | None] | None

    @property
    def ranks(self) -> range:
        """The places after the first."""
        return range(2, min(self.top, len(self.classes)) + 1)


class Csv:
    """file, class, probability; class_2, probability_2, ...; teacher's class and probability."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def header(self) -> str:
        """The first line."""
        layout = self._layout
        columns = ["file", "class", "probability"]
        columns += [f"{name}_{n}" for n in layout.ranks for name in ("class", "probability")]
        columns += [f"{TEACHER}_class", f"{TEACHER}_probability"] if layout.has_teacher else []
        return _csv_line([*columns, "label"] if layout.label_of is not None else columns)

    def line(self, answer: Answer) -> str:
        """The line of an image."""
        own, *teachers = answer.predictions
        values: list[object] = [answer.file]
        for name, probability in own.top:
            values += [name, _rounded(probability)]
        for teacher in teachers:
            values += [teacher.label, _rounded(teacher.probability)]
        if self._layout.label_of is not None:
            values.append(self._layout.label_of(answer.file) or "")
        return _csv_line(values)


class JsonLines:
    """An object a line: file, class, probability, top; teacher with the same; label."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def header(self) -> None:
        """None: every line is an object."""

    def line(self, answer: Answer) -> str:
        """The line of an image."""
        own, *teachers = answer.predictions
        content = {"file": answer.file, **_json(own)}
        if teachers:
            content[TEACHER] = _json(teachers[0])
        if self._layout.label_of is not None:
            content["label"] = self._layout.label_of(answer.file)
        return json.dumps(content)


class Table:
    """Aligned columns, printed line by line."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        widest = max((len(escape_unprintable(file)) for file in layout.files), default=0)
        self._file = max(len("file"), min(widest, MAX_WIDTH))
        self._class = max(len("class"), *map(len, layout.classes))

    def header(self) -> str:
        """The names of the columns."""
        then = ["then"] if self._layout.ranks else []
        teacher = [TEACHER] if self._layout.has_teacher else []
        return self._row("file", "class", "probability", teacher, then)

    def line(self, answer: Answer) -> str:
        """The line of an image."""
        own, *teachers = answer.predictions
        then = ", ".join(f"{name} {probability:.4f}" for name, probability in own.top[1:])
        return self._row(
            escape_unprintable(answer.file),
            own.label,
            f"{own.probability:.4f}",
            [f"{one.label:<{self._class}} {one.probability:.4f}" for one in teachers],
            [then] if then else [],
        )

    def _row(
        self, file: str, label: str, probability: str, teacher: list[str], then: list[str]
    ) -> str:
        both = [f"{text:<{self._class + 7}}" for text in teacher]
        start = [f"{file:<{self._file}}", f"{label:<{self._class}}", f"{probability:<11}"]
        return "  ".join([*start, *both, *then]).rstrip()


FORMATS: dict[str, Callable[[Layout], Csv | JsonLines | Table]] = {
    "table": Table,
    "jsonl": JsonLines,
    "csv": Csv,
}


def _json(prediction: Prediction) -> dict[str, Any]:
    top = [{"class": name, "probability": _rounded(p)} for name, p in prediction.top]
    return {**top[0], "top": top}


def _rounded(probability: float) -> float:
    """Digits that a float32 has."""
    return float(f"{probability:.7g}")


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    # File names may hold bytes that are no text.
    return text.getvalue().encode("utf-8", "backslashreplace").decode()
