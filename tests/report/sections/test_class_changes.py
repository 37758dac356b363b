"""Changes class by class, against scikit-learn and torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from collection import predicting
from distilled_data import (
    AFTER,
    CAT,
    CE,
    DOG,
    FISH,
    TAUGHT,
    TEACHER,
    TRUE,
    distilled_collection,
    distilled_pair,
    distilled_section,
    random_predictions,
)
from sklearn.metrics import confusion_matrix

from kdsweep.report.sections.class_changes import (
    MOST_CLASSES,
    confusion_difference,
    dark_knowledge,
    gains,
    matrices_section,
)
from kdsweep.report.sections.networks import Pair


def test_gains_are_of_each_class_and_the_largest_comes_first() -> None:
    found = gains(distilled_pair())
    assert list(found) == [DOG, FISH, CAT]
    assert found[FISH].difference == pytest.approx(1 / 3)  # one seed of three missed the one fish
    assert found[DOG].difference == pytest.approx(1 / 3)  # half of the dogs in two seeds of three
    assert found[CAT].difference == pytest.approx(
        np.mean([0.5, 0.5, 1.0]) - np.mean([0.5, 0.75, 0.25])
    )
    assert found[DOG].n == 3


def test_confusion_is_that_of_scikit_learn() -> None:
    found = confusion_difference(distilled_pair())
    ours = np.mean([confusion_matrix(TRUE, one, normalize="true") for one in AFTER], axis=0)
    theirs = confusion_matrix(TRUE, TEACHER, normalize="true")
    np.testing.assert_allclose(found, ours - theirs, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12)


def test_dark_knowledge_is_softened_at_the_cells_T() -> None:
    found = dark_knowledge(distilled_pair())
    soft = torch.softmax(torch.tensor(predicting(TEACHER, TRUE).logits["test"]).double() / 4, 1)
    dogs = soft[[4, 5]].mean(0)
    np.testing.assert_allclose(found[DOG], dogs, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


@pytest.mark.ci
def test_matrices_leave_out_what_would_hide_the_rest(tmp_path: Path) -> None:
    gain, confusion, dark = distilled_section(distilled_collection(tmp_path)).figures
    assert np.isnan(np.diag(dark.data[0].z)).all()
    heat = confusion.data[0]
    assert heat.zmin == -heat.zmax
    expected = confusion_difference(distilled_pair())[~np.eye(3, dtype=bool)]
    assert heat.zmax == pytest.approx(100 * np.abs(expected).max())
    assert list(heat.y) == ["cat", "dog", "fish"]
    assert sum(len(trace.y) for trace in gain.data) == 3


def test_of_many_classes_the_most_changed_are_shown() -> None:
    many = MOST_CLASSES + 20
    ours, teacher = random_predictions(600, many, 1), random_predictions(600, many, 2)
    teacher.logits["test"][:, :20] = ours.logits["test"][:, :20]
    quiet = Pair(TAUGHT, None, {0: ours}, {}, {0: teacher}, 4.0, {})
    shown = matrices_section(quiet)
    assert any(f"Of {many} classes the {MOST_CLASSES}" in sentence for sentence in shown.sentences)
    assert np.shape(shown.figures[0].data[0].z) == (MOST_CLASSES, MOST_CLASSES)


def test_a_class_without_a_test_image_is_left_out() -> None:
    no_fish = TRUE[:-1]
    parts = {0: predicting(AFTER[0][:-1], no_fish)}
    found = Pair(TAUGHT, CE, parts, parts, {0: predicting(TEACHER[:-1], no_fish)}, 4.0, {})
    assert FISH not in gains(found)
    assert np.isnan(confusion_difference(found)[FISH]).all()
    assert len(matrices_section(found).figures) == 2
