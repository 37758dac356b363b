"""Two runs side by side: what they differ in, and what they say of the same test images."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.errors import UserError
from kdsweep.report.sources.collection import FolderRun, Run
from kdsweep.report.sources.lookup import Address
from kdsweep.report.sources.merge import leaves, measured_on
from kdsweep.report.sources.mlflow import single
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.predictions import Predictions
from kdsweep.tracking.results_table import read_row

if TYPE_CHECKING:
    from rich.console import Console

SHORT_ID = re.compile(r"[0-9a-f]{4,32}")
UNTOLD = ("tracking", "search", "published", "resume", "dry_run", "debug")  # they alter no result
METRICS = (
    "val/acc",
    "val/loss",
    "val/agreement",
    "test/acc",
    "test/loss",
    "test/ece",
    "test/agreement",
    "val/acc_best",
    "epochs",
    "seconds",
    "num_params",
    "latency_ms",
)
IN_PERCENT = ("acc", "agreement", "ece")


@dataclass(frozen=True)
class Duel:
    """How two runs do on the same images: how many which of them has right."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float  # McNemar's exact test

    @property
    def images(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither


@dataclass(frozen=True)
class Comparison:
    """Two runs. ``duel`` is None where one of them has kept no answers."""

    names: tuple[str, str]
    differences: list[tuple[str, str, str]]  # key of the config, its value in each
    metrics: list[tuple[str, str, str, str]]  # name, its value in each, second minus first
    duel: Duel | None
    without_answers: list[str]  # the runs that have kept none


def find_run(word: str, address: Address) -> Run:
    """A run by its folder, or by its id in MLflow, which may be shortened.

    Raises:
        UserError: if there is no such run, or there are several.
    """
    folder = Path(word)
    if folder.is_dir():
        return _in_folder(folder)
    if SHORT_ID.fullmatch(word):
        return _in_mlflow(word, address.open())
    raise UserError(f"RUN must be a run's folder or its id in MLflow, got {word}")


def _in_folder(folder: Path) -> Run:
    sweep = next(
        (f for f in list(folder.absolute().parents)[:4] if (f / "sweep.json").is_file()), None
    )
    number = folder.absolute().relative_to(sweep).as_posix() if sweep else folder.name
    row = read_row(folder, number)
    if row is None:
        raise UserError(f"RUN must be a run's folder (with a run.json), got {folder}")
    if sweep is not None and row["same_as"] is not None:
        folder = sweep / str(row["same_as"])
    return FolderRun(row, folder, sweep or folder)


def _in_mlflow(word: str, store: MLflowStore) -> Run:
    found = store.search(f"attributes.run_id LIKE '{word}%'")
    if not found:
        raise UserError(f"RUN must be the id of a run of the experiment, got {word}")
    if len(found) > 1:
        ids = ", ".join(str(run.info.run_id)[: len(word) + 4] for run in found[:5])
        raise UserError(f"RUN must be the id of one run, got {word}, with which {ids} begin")
    (run,) = found
    if run.data.tags.get("kdsweep.role") in ("sweep", "search", "trial"):
        raise UserError(
            f"RUN must be a single run, got {word}, a {run.data.tags['kdsweep.role']};"
            " `kdsweep report` tells of those"
        )
    return single(store, run)


def compare_runs(first: Run, second: Run) -> Comparison:
    """Everything that can be said of two runs.

    Raises:
        UserError: if they were not measured on the same test images.
    """
    _refuse_other_data(first, second)
    names = (str(first.row["name"]), str(second.row["name"]))
    said = (first.answers, second.answers)
    without = [name for name, found in zip(names, said, strict=True) if found is None]
    duel = _duel(said[0], said[1]) if said[0] is not None and said[1] is not None else None
    return Comparison(names, _differences(first, second), _metrics(first, second), duel, without)


def _refuse_other_data(first: Run, second: Run) -> None:
    ours, theirs = (measured_on(dict(leaves("", run.config))) for run in (first, second))
    for key in ours | theirs:
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"RUN and RUN must be measured on the same images, got {key}={ours.get(key)} and"
                f" {key}={theirs.get(key)}"
            )


def _duel(ours: Predictions, theirs: Predictions) -> Duel:
    import torch

    from kdsweep.report.analysis.statistics import mcnemar
    from kdsweep.report.sections.paired_predictions import right_answers

    if not torch.equal(ours.labels["test"], theirs.labels["test"]):
        raise UserError(
            "RUN and RUN must be measured on the same test images, got"
            f" {len(ours.labels['test'])} and {len(theirs.labels['test'])} with other labels"
        )
    first, second = right_answers(ours), right_answers(theirs)
    return Duel(
        both=int((first & second).sum()),
        only_first=int((first & ~second).sum()),
        only_second=int((second & ~first).sum()),
        neither=int((~first & ~second).sum()),
        p=mcnemar(first.tolist(), second.tolist()),
    )


def _differences(first: Run, second: Run) -> list[tuple[str, str, str]]:
    ours, theirs = (_settings(run.config) for run in (first, second))
    keys = dict.fromkeys([*ours, *theirs])
    return [
        (key, ours.get(key, ""), theirs.get(key, ""))
        for key in keys
        if ours.get(key, "") != theirs.get(key, "")
    ]


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    told = {key: value for key, value in config.items() if key not in UNTOLD}
    return {key: json.dumps(value) for key, value in leaves("", told)}


def _metrics(first: Run, second: Run) -> list[tuple[str, str, str, str]]:
    found = []
    for key in METRICS:
        ours, theirs = first.row[key], second.row[key]
        if ours is None and theirs is None:
            continue
        percent = key.rpartition("/")[2].startswith(IN_PERCENT)
        difference = None if ours is None or theirs is None else theirs - ours
        found.append(
            (key, _number(ours, percent), _number(theirs, percent), _signed(difference, percent))
        )
    return found


def _number(value: float | None, percent: bool) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f} %" if percent else f"{value:.5g}"


def _signed(value: float | None, percent: bool) -> str:
    if value is None:
        return ""
    return f"{100 * value:+.2f}" if percent else f"{value:+.4g}"


def sentences(found: Comparison) -> list[str]:
    """What the images say."""
    first, second = found.names
    if found.duel is None:
        names = " and ".join(found.without_answers)
        return [
            f"{names} has kept no answers (tracking.answers=true keeps them, of runs that finish):"
            " the images cannot be compared one by one."
        ]
    duel = found.duel
    counted = (
        f"Of {duel.images} test images {duel.both} are right in both runs, {duel.neither} wrong in"
        f" both, {duel.only_first} right in {first} only, {duel.only_second} in {second} only."
    )
    better, worse = (first, second) if duel.only_first > duel.only_second else (second, first)
    verdict = (
        f"{better} is better than {worse} on these images"
        if duel.p < 0.05
        else ("on these images neither is shown to be better")
    )
    return [
        counted,
        f"McNemar's exact test: p = {duel.p:.3g}, {verdict}.",
        "That holds for these two runs, not for their settings: `kdsweep report` compares cells"
        " over seeds.",
    ]


def show(found: Comparison, console: "Console") -> None:
    """Print what two runs differ in, their metrics, and what the images say."""
    from rich.markup import escape
    from rich.table import Table

    configs = Table("config", *map(escape, found.names))
    for key, ours, theirs in found.differences:
        configs.add_row(escape(key), escape(ours), escape(theirs))
    console.print(configs if found.differences else "Their configs do not differ.")
    measured = Table("metric", *map(escape, found.names), "second - first")
    for line in found.metrics:
        measured.add_row(*map(escape, line))
    console.print(measured)
    for sentence in sentences(found):
        console.print(escape(sentence))
