"""Predictions of paired networks."""

from collection import collection, predicting, run
from distilled_data import (
    AFTER,
    BEFORE,
    CE,
    DATA,
    TAUGHT,
    TEACHER,
    TRUE,
    distilled_pair,
    distilled_runs,
)

from kdsweep.report.sections.networks import correct_predictions


def test_correct_predictions_are_in_the_order_of_the_test_set() -> None:
    assert correct_predictions(predicting(TEACHER, TRUE)).tolist() == [True] * 3 + [
        False,
        True,
        False,
        True,
    ]


def test_runs_on_other_test_images_are_not_compared() -> None:
    """Merged sweeps may have cells of one name on different data."""
    others = [run(CE, 0, 0.8, predictions=predicting(BEFORE[0][:-1], TRUE[:-1]), config=DATA)]
    found = distilled_pair(collection([*others, *distilled_runs(TAUGHT, AFTER)]))
    assert found.baseline_students == {}
    assert sorted(found.students) == [0, 1, 2]
