"""A run against its rerun: equal, or by how much they differ."""

import math
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from kdsweep.sweeps.rerun.conditions import Condition, show_conditions
from kdsweep.sweeps.rerun.outcome import Outcome, compare, show_outcome
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import append_row, make_row
from kdsweep.training.checkpoint import save_weights, sha256

ACCS = [0.25, 0.5, 0.75]


class Weights(nn.Module):
    """A state dict of these tensors."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def made(folder: Path, accs: list[float] = ACCS, **tensors: list[float]) -> tuple[Path, RunResult]:
    """A run with these val/acc and weights."""
    (folder / "checkpoint").mkdir(parents=True)
    kept = tensors or {"first": [1.0, 2.0], "second": [3.0]}
    model = Weights({name: torch.tensor(values) for name, values in kept.items()})
    save_weights(folder / "checkpoint" / "model.safetensors", model)
    for epoch, acc in enumerate(accs):
        speed = 100.0 * len(str(folder))  # of another value in each folder
        append_row(folder, make_row(epoch, 0, {"val/acc": acc, "images_per_second": speed}))
    append_row(folder, make_row(len(accs) - 1, 0, {"test/acc": accs[-1]}))
    return folder, RunResult(status="FINISHED", weights_sha256=sha256(model))


def compared(*runs: tuple[Path, RunResult]) -> Outcome:
    (one, before), (other, now) = runs
    return compare("kl", (before, now), (one, other))


def test_equal_runs_are_the_same_whatever_their_speed(tmp_path: Path) -> None:
    found = compared(made(tmp_path / "a"), made(tmp_path / "another"))
    assert found.is_same
    assert found.sentence.startswith("kl: the same, bit for bit: weights ")
    assert found.sentence.endswith("and the metrics of 3 epochs")


def test_what_is_printed_is_whole_whatever_the_width(tmp_path: Path) -> None:
    file = StringIO()
    path = "/a/folder/of/a/very/long/name/model.safetensors"
    console = Console(file=file, width=20)
    show_conditions([Condition("teacher.checkpoint", path, None)], console)
    show_outcome(compared(made(tmp_path / "a"), made(tmp_path / "b", [0.125, 0.5, 0.75])), console)
    for text in (path, "0.125", "; the metrics differ from epoch 0 on\n"):
        assert text in file.getvalue(), text
    assert "…" not in file.getvalue()


def test_the_largest_difference_of_weights_is_named(tmp_path: Path) -> None:
    other = made(tmp_path / "b", first=[1.0, 2.25], second=[3.0])
    found = compared(made(tmp_path / "a"), other)
    assert not found.is_same
    assert found.sentence == (
        "kl: not the same: 1 of 2 tensors of the weights differ, by at most 0.25 (in first);"
        " the metrics are the same"
    )


def test_weights_that_are_infinite_in_both_do_not_differ_there(tmp_path: Path) -> None:
    first = made(tmp_path / "a", first=[-math.inf, 1.0])
    found = compared(first, made(tmp_path / "b", first=[-math.inf, 1.5]))
    assert "differ, by at most 0.5 (in first)" in found.sentence
    found = compared(first, made(tmp_path / "c", first=[0.0, 1.5]))
    assert "differ, by at most inf (in first)" in found.sentence


def test_metrics_are_compared_epoch_by_epoch(tmp_path: Path) -> None:
    other = made(tmp_path / "b", accs=[0.25, 0.625, 0.8125])
    found = compared(made(tmp_path / "a"), other)
    assert found.first_epoch == 1
    assert found.sentence == (
        "kl: not the same: the weights are the same, bit for bit; the metrics differ from epoch 1"
        " on"
    )
    (val, test) = found.metrics
    assert (val.name, val.epoch, val.recorded, val.now, val.size) == (
        "val/acc",
        1,
        0.5,
        0.625,
        0.125,
    )
    assert (test.name, test.epoch, test.size) == ("test/acc", 2, 0.0625)


def test_a_metric_that_is_finite_in_one_only_differs_most(tmp_path: Path) -> None:
    found = compared(made(tmp_path / "a"), made(tmp_path / "b", accs=[0.0, math.nan, 0.75]))
    (val,) = found.metrics
    assert (val.epoch, val.now, val.size) == (1, None, math.inf)
    same = made(tmp_path / "c", accs=[0.0, math.nan, 0.75])
    assert compared((tmp_path / "b", same[1]), same).is_same


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the weights differ, by how much is unknown without {}"),
        (b"x", "the weights differ, by how much is unknown: {} is damaged"),
    ],
)
def test_weights_that_are_not_there_are_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    first, other = made(tmp_path / "a"), made(tmp_path / "b", first=[0.0])
    path = first[0] / "checkpoint" / "model.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert compared(first, other).weights == message.format(path)


def test_another_network_and_no_metrics(tmp_path: Path) -> None:
    first, other = made(tmp_path / "a"), made(tmp_path / "b", first=[1.0, 2.0])
    (first[0] / "metrics.jsonl").unlink()
    assert compared(first, other).sentence == (
        "kl: not the same: the weights are those of another network; no metrics of the run are"
        " recorded"
    )
