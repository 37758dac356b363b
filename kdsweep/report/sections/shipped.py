"""The model you ship: accuracy, size and latency of what was made of a run, next to its teacher.

`deploy=...`, `kdsweep export`, `quantize` and `bench` have measured it; their records are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdsweep.common.text import counted
from kdsweep.report.analysis.aggregate import Grid
from kdsweep.report.analysis.proportions import wilson
from kdsweep.report.analysis.statistics import Interval
from kdsweep.report.formatting import first_of, interval, p_equals, p_value, percent, points
from kdsweep.report.sections.section import Section, Table
from kdsweep.report.sections.tradeoff import Point, tradeoff
from kdsweep.report.sources.collection import Run, RunCollection
from kdsweep.tracking.deployed import BENCH, EXPORT, ONNX, QUANTIZE, TEACHER, TORCH
from kdsweep.tracking.results_table import ranked

TITLE = "The model you ship"
STUDENT = "student"
NAMES = {TORCH: f"{STUDENT}, {TORCH}", ONNX: f"{STUDENT}, {ONNX}"}
IN_TURNS = (
    "Latency is that of one image, the median of interleaved rounds: compare it within a table."
)


@dataclass(frozen=True)
class Model:
    """A file of the run, or its teacher, as `kdsweep quantize` has measured it.

    Attributes:
        accuracy: in [0, 1], as all shares here; None for images without labels.
        of_images: 95 % interval of the accuracy over images.
        difference: to the student in torch, on the same images.
        p: of McNemar's exact test.
    """

    name: str
    num_bytes: int
    milliseconds: float
    accuracy: float | None
    of_images: Interval | None
    difference: float | None
    interval: Interval | None
    p: float | None


def section(collection: RunCollection, grid: Grid) -> Section | None:
    """What was made of the best run by validation that has records; None if none has."""
    finished = {id(run.row): run for run in collection.finished_runs()}
    order = [finished[id(row)] for row in ranked(run.row for run in finished.values())]
    deployed = [run for run in order if run.deployed]
    if not deployed:
        return None
    run = deployed[0]
    models = list(_models(run.deployed.get(QUANTIZE, {}), run))
    benched = run.deployed.get(BENCH, {})
    exports = {name: run.deployed[name] for name in run.deployed if name.startswith(EXPORT)}
    sentences = [_which(deployed, order), *_costs(models, run.deployed.get(QUANTIZE, {}))]
    tables = [
        *_table_of_models(models, run.deployed.get(QUANTIZE, {})),
        *_table_of_exports(exports),
        *_table_of_bench(benched),
    ]
    places = _points(models, benched)
    return Section(TITLE, sentences, tables, figures=[tradeoff(places)] if places else [])


def _which(deployed: Sequence[Run], order: Sequence[Run]) -> str:
    run, best = deployed[0].row["name"], order[0].row["name"]
    rank = ", the best run by validation"
    if deployed[0] is not order[0]:
        rank = f". It is not the best run by validation, which is {best}"
    others = [str(other.row["name"]) for other in deployed[1:]]
    more = f" Others that were deployed or measured: {first_of(others)}." if others else ""
    return f"Deployed is {run}{rank}.{more}"


def _models(facts: Mapping[str, Any], run: Run) -> Iterator[Model]:
    """The teacher first, then the student in torch, in ONNX, and its smaller files.

    Nothing of weights that the run no longer has.
    """
    weights, known = facts.get("weights_sha256"), run.row.get("weights_sha256")
    if weights and known and weights != known:
        return
    rows = sorted(facts.get("rows", []), key=lambda row: row["name"] != TEACHER)
    for row in rows:
        ends, accuracy = row["interval"], row["accuracy"]
        images = facts.get("images")
        yield Model(
            NAMES.get(row["name"], row["name"]),
            row["bytes"],
            row["latency_ms"],
            accuracy,
            wilson(accuracy, images) if accuracy is not None and images else None,
            row["difference"],
            None if ends is None else (ends[0], ends[1]),
            row["p"],
        )


def _costs(models: Sequence[Model], facts: Mapping[str, Any]) -> Iterator[str]:
    """The student against its teacher, and its smallest file against the student in torch."""
    named = {model.name: model for model in models}
    teacher, student = named.get(TEACHER), named.get(NAMES[TORCH])
    if student is None:
        return
    if teacher is not None:
        yield (
            f"The student has {_accuracy(student, facts)}, with {_ratios(student, teacher)} of its"
            f" teacher{_against_teacher(teacher)}."
        )
    files = [one for one in models if one not in (teacher, student, named.get(NAMES[ONNX]))]
    if files:
        smallest = min(files, key=lambda one: one.num_bytes)
        yield (
            f"Its smallest file, {smallest.name}, has {_accuracy(smallest, facts)}, with"
            f" {_ratios(smallest, student)} of the student in torch{_against_student(smallest)}."
        )


def _accuracy(model: Model, facts: Mapping[str, Any]) -> str:
    if model.accuracy is None:
        return "no accuracy (its images have no labels)"
    ends = f"{interval(model.of_images)} ".lstrip()
    return f"{percent(model.accuracy)} {ends}% on {facts['measured_on']}"


def _against_teacher(teacher: Model) -> str:
    """Of the student: the teacher's own difference is to the student."""
    if teacher.difference is None or teacher.interval is None:
        return ""
    low, high = teacher.interval
    return f", and {points(-teacher.difference)} {interval((-high, -low))} points against it"


def _against_student(model: Model) -> str:
    if model.difference is None:
        return ""
    ends = interval(model.interval)
    return (
        f", and {points(model.difference)} {ends} points against it (McNemar's exact test,"
        f" p {p_equals(model.p)})"
    )


def _ratios(model: Model, to: Model) -> str:
    size, time = model.num_bytes / to.num_bytes, model.milliseconds / to.milliseconds
    return f"{size:.2g} x the size and {time:.2g} x the latency"


def _table_of_models(models: Sequence[Model], facts: Mapping[str, Any]) -> Iterator[Table]:
    if not models:
        return
    student = next((one for one in models if one.name == NAMES[TORCH]), models[0])
    header = ("model", "accuracy (%)", "vs student", "p", "size", "x size", "ms", "x ms")
    rows = [
        (
            one.name,
            f"{percent(one.accuracy)} {interval(one.of_images)}".strip(),
            f"{points(one.difference)} {interval(one.interval)}".strip(),
            p_value(one.p),
            _size(one.num_bytes),
            f"{one.num_bytes / student.num_bytes:.2f}",
            f"{one.milliseconds:.3g}",
            f"{one.milliseconds / student.milliseconds:.2f}",
        )
        for one in models
    ]
    note = (
        f"Accuracy on {facts['measured_on']}, with its interval over images (Wilson); differences"
        " in points on the same images, with their interval (Agresti and Min) and McNemar's exact"
        f" test. {_threads(facts)}. {IN_TURNS}"
    )
    yield Table(header, rows, note).without_empty_columns()


def _table_of_exports(exports: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    if not exports:
        return
    header = ("file", "size", "accuracy (%)", "same class", "largest difference")
    rows = [
        (
            str(facts["file"]),
            _size(facts["bytes"]),
            percent(facts["accuracy"]),
            f"{facts['same_class']:,} of {facts['count']:,}",
            f"{facts['largest_difference']:.1g}",
        )
        for facts in exports.values()
    ]
    images = " and ".join(dict.fromkeys(str(facts["images"]) for facts in exports.values()))
    note = f"Each file against the network, in float32, on {images}: classes and outputs."
    yield Table(header, rows, note).without_empty_columns()


def _table_of_bench(facts: Mapping[str, Any]) -> Iterator[Table]:
    if not facts.get("rows"):
        return
    header = ("model", "test (%)", "parameters", "MACs", "size", "ms", "best batch", "images/s")
    rows = [
        (
            f"{row['model']}, {row['runtime']}",
            percent(row["test/acc"]),
            f"{row['parameters']:,}",
            f"{row['macs']:,}",
            _size(row["bytes"]),
            f"{row['latency_ms']:.3g}",
            str(row["best_batch"]),
            f"{row['images_per_second']:,.0f}",
            "" if row["peak_memory_bytes"] is None else _size(row["peak_memory_bytes"]),
        )
        for row in facts["rows"]
    ]
    note = f"Measured by kdsweep bench. {_threads(facts)}. {IN_TURNS}"
    yield Table((*header, "memory"), rows, note).without_empty_columns()


def _points(models: Sequence[Model], benched: Mapping[str, Any]) -> list[Point]:
    """Those of `kdsweep bench`, which may have other students of the sweep, too; else the run's."""
    if rows := benched.get("rows"):
        return [
            Point(row["model"], row["runtime"], row["latency_ms"], row["test/acc"], None)
            for row in rows
            if row["test/acc"] is not None
        ]
    return [
        Point(
            TEACHER if one.name == TEACHER else STUDENT,
            TORCH if one.name == TEACHER else one.name.removeprefix(f"{STUDENT}, "),
            one.milliseconds,
            one.accuracy,
            one.of_images,
        )
        for one in models
        if one.accuracy is not None
    ]


def _size(num_bytes: int) -> str:
    from rich.filesize import decimal

    return decimal(num_bytes)


def _threads(facts: Mapping[str, Any]) -> str:
    return counted(facts.get("threads", 1), "thread")
