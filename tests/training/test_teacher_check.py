"""When a teacher's accuracy is near chance, and what the warning names."""

import pytest

from kdsweep.training.teacher_check import chance_warning, is_near_chance


@pytest.mark.parametrize(
    ("accuracy", "classes", "near"),
    [(0.19, 10, True), (0.21, 10, False), (0.74, 2, True), (0.76, 2, False), (0.67, 3, False)],
)
def test_near_chance_is_below_twice_chance(accuracy: float, classes: int, near: bool) -> None:
    assert is_near_chance(accuracy, classes) is near


def test_few_classes_are_named_whole() -> None:
    sentence = chance_warning(0.5, 1200, ("cat", "dog"), (3, 32, 32))
    assert "50.0% (of 1,200 images) is near chance, which is 50.0%" in sentence
    assert "(here cat, dog)" in sentence
    assert "(here 3 x 32 x 32)" in sentence
