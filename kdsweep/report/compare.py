"""Two runs compared: their configs, their metrics, and their predictions for the same images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsweep.common.nested import leaves
from kdsweep.errors import UserError
from kdsweep.report.sources.address import Address
from kdsweep.report.sources.collection import FolderRun, Run
from kdsweep.report.sources.merge import measured_on
from kdsweep.report.sources.mlflow import MEASURED, single
from kdsweep.tracking.find_run import find_local_run, find_mlflow_run
from kdsweep.tracking.find_sweep import sweep_of
from kdsweep.tracking.predictions import Predictions
from kdsweep.tracking.printing import print_table
from kdsweep.tracking.results_table import read_row

if TYPE_CHECKING:
    from rich.console import Console

    from kdsweep.report.analysis.contingency import ContingencyTable

# Keys that alter no result.
NOT_COMPARED = (
    *("tracking", "deploy", "cache", "search", "published", "resume", "dry_run", "debug"),
)
IN_PERCENT = ("acc", "agreement", "ece")


@dataclass(frozen=True)
class RunComparison:
    """Two runs. ``contingency`` is None where one of them has kept no predictions."""

    names: tuple[str, str]
    differences: list[tuple[str, str, str]]  # key of the config, its value in each
    metrics: list[tuple[str, str, str, str]]  # name, its value in each, second minus first
    contingency: "ContingencyTable | None"
    without_predictions: list[str]  # the runs that have kept none


def find_run(word: str, address: Address) -> Run:
    """A run that the user names, as in `kdsweep.tracking.find_run`; read where it is.

    Raises UserError if there is no such run, or there are several.
    """
    folder = find_local_run(word)
    if folder is None:
        store = address.open()
        return single(store, find_mlflow_run(word, store))
    sweep = sweep_of(folder)
    number = folder.absolute().relative_to(sweep).as_posix() if sweep else folder.name
    row = read_row(folder, number)
    assert row is not None, "a run's folder has a result or a run.json"
    return FolderRun(row, folder, sweep or folder)


def compare_runs(first: Run, second: Run) -> RunComparison:
    """The comparison of two runs. Raises UserError if their test images are not the same."""
    images = [measured_on(dict(leaves(run.config))) for run in (first, second)]
    if differing := _differing(*images):
        key, one, other = differing[0]
        raise UserError(
            f"RUN and RUN must be measured on the same images, got {key}={one} and {key}={other}"
        )
    names = (str(first.row["name"]), str(second.row["name"]))
    predictions = (first.predictions, second.predictions)
    without = [name for name, kept in zip(names, predictions, strict=True) if kept is None]
    contingency = None
    if predictions[0] is not None and predictions[1] is not None:
        contingency = _contingency(predictions[0], predictions[1])
    kept = [
        {k: v for k, v in run.config.items() if k not in NOT_COMPARED} for run in (first, second)
    ]
    configs = [{key: json.dumps(value) for key, value in leaves(config)} for config in kept]
    differences = [(key, one or "", other or "") for key, one, other in _differing(*configs)]
    return RunComparison(names, differences, _metrics(first, second), contingency, without)


def _differing(
    first: Mapping[str, str], second: Mapping[str, str]
) -> list[tuple[str, str | None, str | None]]:
    """The keys whose values differ, with both values."""
    keys = dict.fromkeys([*first, *second])
    pairs = [(key, first.get(key), second.get(key)) for key in keys]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _contingency(first: Predictions, second: Predictions) -> "ContingencyTable":
    import numpy as np

    from kdsweep.report.analysis.contingency import contingency
    from kdsweep.report.sections.networks import correct_predictions

    if not np.array_equal(first.labels["test"], second.labels["test"]):
        raise UserError(
            "RUN and RUN must be measured on the same test images, got"
            f" {len(first.labels['test'])} and {len(second.labels['test'])} with other labels"
        )
    return contingency(correct_predictions(first), correct_predictions(second))


def _metrics(first: Run, second: Run) -> list[tuple[str, str, str, str]]:
    lines = []
    for key in MEASURED:
        one, other = first.row[key], second.row[key]
        in_percent = key.rpartition("/")[2].startswith(IN_PERCENT)
        value, signed, scale = (
            ("{:.2f} %", "{:+.2f}", 100) if in_percent else ("{:.5g}", "{:+.4g}", 1)
        )
        before, after = (
            "" if each is None else value.format(scale * each) for each in (one, other)
        )
        change = signed.format(scale * (other - one)) if before and after else ""
        if before or after:
            lines.append((key, before, after, change))
    return lines


def sentences(comparison: RunComparison) -> list[str]:
    """The conclusions from the predictions."""
    first, second = comparison.names
    table = comparison.contingency
    if table is None:
        names = " and ".join(comparison.without_predictions)
        return [
            f"{names} has kept no predictions (tracking.answers=true keeps them, of runs that"
            " finish): the images cannot be compared one by one."
        ]
    better, worse = (first, second) if table.only_first > table.only_second else (second, first)
    verdict = "on these images neither is shown to be better"
    if table.p < 0.05:
        verdict = f"{better} is better than {worse} on these images"
    return [
        f"Of {table.images} test images {table.both} are right in both runs, {table.neither} wrong"
        f" in both, {table.only_first} right in {first} only, {table.only_second} in {second}"
        " only.",
        f"McNemar's exact test: p = {table.p:.3g}, {verdict}.",
        "That holds for these two runs, not for their settings: `kdsweep report` compares cells"
        " over seeds.",
    ]


def show(comparison: RunComparison, console: "Console") -> None:
    """Print the differing settings of two runs, their metrics, and the comparison by image."""
    from rich.markup import escape
    from rich.table import Table

    names = [escape(name) for name in comparison.names]
    configs, metrics = Table("config", *names), Table("metric", *names, "second - first")
    for setting in comparison.differences:
        configs.add_row(*map(escape, setting))
    for metric in comparison.metrics:
        metrics.add_row(*map(escape, metric))
    if comparison.differences:
        print_table(console, configs)
    else:
        console.print("Their configs do not differ.")
    print_table(console, metrics)
    for sentence in sentences(comparison):
        console.print(escape(sentence))
