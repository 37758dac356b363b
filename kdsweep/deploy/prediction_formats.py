"""Predictions as lines of text: a table, CSV, or JSON lines."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kdsweep.common.text import escape_unprintable
from kdsweep.deploy.predict import FilePrediction
from kdsweep.deploy.predictions import Prediction

TEACHER = "teacher"
MAX_WIDTH = 60  # of the file column; a longer name shifts its row and is not cut


@dataclass(frozen=True)
class Layout:
    """Which columns there are.

    Attributes:
        files: all files to classify, for the width of their column.
        classes: the names of all classes.
        top: maximum number of classes listed for each image.
        has_teacher: whether each image also has the prediction of a teacher.
        label_of: the true class of a file, by its folder; None if no file has one.
    """

    files: Sequence[str]
    classes: Sequence[str]
    top: int
    has_teacher: bool
    label_of: Callable[[str], str | None] | None

    @property
    def ranks(self) -> range:
        """The ranks after the first: 2, 3, ..., up to `top`."""
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

    def line(self, prediction: FilePrediction) -> str:
        """The line of an image."""
        own, *teachers = prediction.predictions
        values: list[object] = [prediction.file]
        for name, probability in own.top:
            values += [name, _rounded(probability)]
        for teacher in teachers:
            values += [teacher.label, _rounded(teacher.probability)]
        if self._layout.label_of is not None:
            values.append(self._layout.label_of(prediction.file) or "")
        return _csv_line(values)


class JsonLines:
    """One object per line: file, class, probability, top; the same for a teacher; label."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def header(self) -> None:
        """None: JSON lines have no header."""

    def line(self, prediction: FilePrediction) -> str:
        """The line of an image."""
        own, *teachers = prediction.predictions
        content = {"file": prediction.file, **_json(own)}
        if teachers:
            content[TEACHER] = _json(teachers[0])
        if self._layout.label_of is not None:
            content["label"] = self._layout.label_of(prediction.file)
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

    def line(self, prediction: FilePrediction) -> str:
        """The line of an image."""
        own, *teachers = prediction.predictions
        then = ", ".join(f"{name} {probability:.4f}" for name, probability in own.top[1:])
        return self._row(
            escape_unprintable(prediction.file),
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
    """Rounded to the significant digits of a float32."""
    return float(f"{probability:.7g}")


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    # File names may contain bytes that are not valid UTF-8.
    return text.getvalue().encode("utf-8", "backslashreplace").decode()
