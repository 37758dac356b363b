"""The model card: what it states of a run."""

from pathlib import Path
from typing import Any

import pytest
from bundles import manifest, written

from kdsweep.deploy.card_facts import CardFacts, ClassAccuracy, card_facts
from kdsweep.deploy.model_card import model_card
from kdsweep.report.analysis.statistics import summary
from kdsweep.tracking.result import RunResult

RUN = {"name": "kl T=4 seed=0", "cell": "kl T=4", "student": "mlp", "dataset": "pets", "seed": 0}
RESULT = {
    "status": "FINISHED",
    "seed": 0,
    "val/acc": 0.8,
    "test/acc": 0.75,
    "test/loss": 0.5,
    "test/ece": 0.031,
    "T": 4.0,
    "alpha": 0.9,
    "loss": "kl",
    "teacher": "vgg13",
    "num_params": 12345,
    "mlflow_run_id": "abc",
}
ACCURACIES = [0.75, 0.77, 0.79]
LOAD = "kdsweep.load('models:/student@champion')"


def facts(**changes: Any) -> CardFacts:
    given: dict[str, Any] = {
        "manifest": manifest(run=RUN, weights_sha256="beef"),
        "result": RunResult.from_json(RESULT),
        "config": {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}},
        "teacher": {"vgg13": 0.81},
        "seeds": [{"seed": seed, "test/acc": acc} for seed, acc in enumerate(ACCURACIES)],
        "cells": 6,
        "images": {"train": 900, "val": 100, "test": 20},
        "classes": [ClassAccuracy("cat", 12, 12), ClassAccuracy("a|dog", 8, 3)],
    }
    return CardFacts(**{**given, **changes})


def test_it_has_figures_with_intervals_over_seeds() -> None:
    card = model_card("student", facts(), LOAD)
    low, high = summary(ACCURACIES).t_interval or (0, 0)
    assert f"| accuracy on test, % | 75.00 | 77.00 [{100 * low:.2f}, {100 * high:.2f}] |" in card
    assert "| accuracy of the teacher `vgg13` on test, % | 81.00 |" in card
    assert "Seeds 0, 1, 2" in card


def test_it_has_what_the_model_is_and_how_it_was_trained() -> None:
    card = model_card("student", facts(), LOAD)
    assert card.startswith("# student\n")
    for line in (
        "| data set | `pets` (900 train, 100 val, 20 test images) |",
        "| loss | `kl` |",
        "| T | `4.0` |",
        "| alpha | `0.9` |",
        "| optimizer | `SGD lr=0.1` |",
        "| SHA-256 of the weights | `beef` |",
        "RGB, 8 x 6 pixels; an image of another size is cropped to its proportions and resized",
        "12,345 parameters",
        LOAD,
    ):
        assert line in card


def test_it_has_the_accuracy_of_each_class_and_the_limits() -> None:
    card = model_card("student", facts(), LOAD)
    assert "| cat | 12 | 100.00 |\n| a\\|dog | 8 | 37.50 |" in card
    assert "The lowest class is a\\|dog with 37.50 % of 8." in card
    assert "Its sweep has 6 cells." in card
    assert "one seed" not in card


def test_many_classes_can_be_cut_to_the_lowest() -> None:
    classes = [ClassAccuracy(f"c{n}", 100, n) for n in range(50)]
    card = model_card("student", facts(classes=classes), LOAD, 3)
    assert "the 3 lowest of 50" in card
    assert "| c2 | 100 | 2.00 |" in card
    assert "| c3 |" not in card


@pytest.mark.parametrize("missing", ["teacher", "seeds", "images", "classes", "config"])
def test_it_does_without_what_is_not_known(missing: str) -> None:
    nothing: Any = {} if missing in ("teacher", "images", "config") else []
    card = model_card("student", facts(**{missing: nothing}), LOAD)
    assert "75.00" in card
    assert "None" not in card
    assert ("one seed" in card) == (missing == "seeds")


def test_its_version_of_kdsweep_is_that_of_the_training() -> None:
    environment = {"provenance": {"environment": {"kdsweep": "0.0.7"}}}
    trained = facts(result=RunResult.from_json({**RESULT, **environment}))
    assert "| trained by | kdsweep 0.0.7 |" in model_card("student", trained, LOAD)
    assert "trained by" not in model_card("student", facts(), LOAD)


@pytest.mark.parametrize("damage", [{"optimizer": 3}, {"optimizer": ["a"]}, {"student": 3}])
def test_a_config_of_another_shape_is_no_error(damage: Any) -> None:
    assert "75.00" in model_card("student", facts(config=damage), LOAD)


def test_a_foreign_bundle_next_to_damaged_files_has_a_card(tmp_path: Path) -> None:
    bundle = written(tmp_path / "checkpoint", run={"name": "kl", "num_params": "many"})
    (tmp_path / "run.json").write_text('{"params": {}, "dataset": "pets"}')
    (tmp_path / "result.json").write_text("[]")
    (tmp_path / "config.yaml").write_text("tracking: {}\nstudent: 3\n")
    (tmp_path / "answers.safetensors").write_bytes(b"none")
    assert "A network: classifies images" in model_card("student", card_facts(bundle), LOAD)


def test_metrics_with_rounding_are_named_as_such() -> None:
    card = model_card("student", facts(with_rounding=True), LOAD)
    assert "Measured with the rounding of int8" in card
    assert "rounding" not in model_card("student", facts(), LOAD)


def test_a_network_of_no_run_is_described_without_gaps() -> None:
    card = model_card("student", facts(manifest=manifest()), LOAD)
    assert "None" not in card
    assert "A network, 12,345 parameters: classifies images of a data set into 2 classes" in card
    assert "| metric | this model | mean of 3 seeds" in card
