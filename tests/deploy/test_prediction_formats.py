"""Predictions as a table, CSV and JSON lines."""

import csv
import json

import pytest

from kdsweep.deploy.predict import FilePrediction
from kdsweep.deploy.prediction_formats import FORMATS, Layout
from kdsweep.deploy.predictions import Prediction

CLASSES = ("cat", "big, dog", "eel")


def prediction(*top: tuple[str, float]) -> Prediction:
    return Prediction("a.png", *top[0], top)


OWN = prediction(("big, dog", 0.75), ("cat", 0.2))
TEACHERS = prediction(("cat", 1 / 3), ("eel", 0.3))
ALONE = FilePrediction("x/a.png", (OWN,))
BOTH = FilePrediction("x/cat/a.png", (OWN, TEACHERS))


def layout(one: FilePrediction, labels: bool = False) -> Layout:
    label_of = (lambda file: "cat" if "/cat/" in file else None) if labels else None
    return Layout([one.file], CLASSES, 2, len(one.predictions) > 1, label_of)


def lines(form: str, one: FilePrediction, labels: bool = False) -> list[str]:
    chosen = FORMATS[form](layout(one, labels))
    return [line for line in (chosen.header(), chosen.line(one)) if line is not None]


def test_csv_has_a_column_for_each_value() -> None:
    assert list(csv.reader(lines("csv", ALONE))) == [
        ["file", "class", "probability", "class_2", "probability_2"],
        ["x/a.png", "big, dog", "0.75", "cat", "0.2"],
    ]
    header, values = csv.reader(lines("csv", BOTH, labels=True))
    assert header[-3:] == ["teacher_class", "teacher_probability", "label"]
    assert values[-3:] == ["cat", "0.3333333", "cat"]


def test_json_lines_have_an_object_for_each_image() -> None:
    (line,) = lines("jsonl", ALONE)
    top = [{"class": "big, dog", "probability": 0.75}, {"class": "cat", "probability": 0.2}]
    assert json.loads(line) == {"file": "x/a.png", **top[0], "top": top}
    (line,) = lines("jsonl", BOTH, labels=True)
    content = json.loads(line)
    assert content["teacher"]["class"] == "cat"
    assert content["label"] == "cat"


def test_the_table_is_aligned() -> None:
    assert lines("table", ALONE) == [
        "file     class     probability  then",
        "x/a.png  big, dog  0.7500       cat 0.2000",
    ]
    assert lines("table", BOTH) == [
        "file         class     probability  teacher          then",
        "x/cat/a.png  big, dog  0.7500       cat      0.3333  cat 0.2000",
    ]


@pytest.mark.parametrize("form", list(FORMATS))
def test_names_that_are_no_text_are_escaped(form: str) -> None:
    (*_, line) = lines(form, FilePrediction("a\udcff\n.png", (OWN,)))
    assert line.encode("utf-8")
    if form != "csv":
        assert "\n" not in line
