"""`kdsweep.sweep` and `kdsweep.open`: a sweep from Python, with what the command line leaves."""

import logging
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import TINY, UNDRAWN, Outcome

import kdsweep
from kdsweep.api.results import Sweep
from kdsweep.tracking.results_table import collect

WORDS = [*TINY, *UNDRAWN, "tracking=none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Sweep:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        swept = kdsweep.sweep(*WORDS, "loss=kl", T=[1, 4], seed=[0, 1])
    assert isinstance(swept, Sweep)
    return swept


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_its_table_is_that_of_the_command_line(trained: Sweep, folder: Path) -> None:
    here = Outcome(0, "", "", folder).sweep
    assert isinstance(trained.results, pd.DataFrame)
    assert trained.results.to_dict("records") == collect(here)
    assert trained.folder.resolve() == here.resolve()
    assert list(trained.results["seed"]) == [0, 1, 0, 1]
    assert [run.row["status"] for run in trained.runs] == ["FINISHED"] * 4


def test_its_best_run_is_chosen_on_validation(trained: Sweep) -> None:
    best, results = trained.best(), trained.results
    assert best.row["val/acc"] == results["val/acc"].max()
    assert list(best.config["loss"]) == ["kl"]
    assert list(best.metrics["epoch"]) == [0, 1]
    predictions = best.load().predict(np.zeros((8, 8), np.uint8))
    assert predictions.probabilities.shape == (1, 10)


def test_it_answers_in_sentences(trained: Sweep) -> None:
    assert trained.cells.best is not None
    assert trained.cells.best.name in trained.answer
    page = trained._repr_html_()
    assert "<table" in page
    assert trained.cells.best.name in page
    assert "4 of 4 runs finished" in repr(trained)


@pytest.mark.ci
def test_its_report_is_written(trained: Sweep) -> None:
    path = trained.report()
    assert path.name == "report.html"
    assert "<html" in path.read_text()


def test_the_same_sweep_can_be_opened(trained: Sweep, folder: Path) -> None:
    for opened in (kdsweep.open(), kdsweep.open(trained.folder)):
        assert opened.results.equals(trained.results)
    with pytest.raises(kdsweep.UserError, match="SWEEP must be a sweep's folder"):
        kdsweep.open(folder)


@pytest.mark.ci
def test_the_process_stays_as_it_was(trained: Sweep) -> None:
    root = logging.getLogger()
    before = (sys.argv, sys.excepthook, list(root.handlers), root.level, dict(os.environ))
    kdsweep.sweep(*WORDS, "loss=ce")
    assert (sys.argv, sys.excepthook, list(root.handlers), root.level, dict(os.environ)) == before


@pytest.mark.ci
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"T": -1}, "T must be"),
        pytest.param({"loss": "nope"}, "nope", marks=pytest.mark.slow),
        ({"T": []}, "T must be a number, a string, True, False, None, or a list of them"),
        ({"T": object()}, "T must be a number"),
        pytest.param({"dry_run": True}, "must train something", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_trained_is_an_error(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(kdsweep.UserError, match=sentence):
        kdsweep.sweep(*WORDS, **settings)


def test_a_word_must_be_a_string() -> None:
    with pytest.raises(kdsweep.UserError, match=r"T=1,4,16, got 4"):
        kdsweep.sweep(4)  # type: ignore[arg-type]


NET = """
from torch import nn


class TinyNet(nn.Module):
    def __init__(self, in_channels, num_classes, width=4):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, images):
        return self.head(self.pool(self.conv(images).relu()).flatten(1))
"""


@pytest.mark.ci
def test_a_network_is_given_as_a_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "swept_networks.py").write_text(NET)
    monkeypatch.syspath_prepend(str(folder))
    from swept_networks import TinyNet  # type: ignore[import-not-found]

    words = [word for word in WORDS if not word.startswith("student.")]
    student = partial(TinyNet, width=2)
    swept = kdsweep.sweep(*words, student=student, **{"student.model.width": [2, 3]})
    assert list(swept.results["status"]) == ["FINISHED"] * 2
    assert set(swept.results["student"]) == {"tinynet"}
    widths = [run.config["student"]["model"]["width"] for run in swept.runs]
    assert widths == [2, 3]
    network = swept.runs[1].load(allow=["swept_networks"]).module
    assert isinstance(network.get_submodule("head"), torch.nn.Linear)


class InTest:
    pass


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"student": lambda: None}, "at the top of a module that can be imported"),
        ({"T": InTest}, "objects are given for student, loss, dataset"),
        ({"loss": partial(InTest, 3)}, "loss must name its arguments"),
    ],
)
def test_an_object_that_cannot_be_imported_is_an_error(
    settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(kdsweep.UserError, match=sentence):
        kdsweep.sweep(*WORDS, **settings)
