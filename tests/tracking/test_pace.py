"""Images a second and the time that is left, of a teacher or cohort."""

import pytest

from kdsweep.tracking.pace import Pace


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def epoch(pace: Pace, clock: FakeClock, number: int) -> None:
    """100 images in 4 s, then 1 s of evaluation."""
    pace.begin_epoch(number, 100)
    for _ in range(4):
        clock.now += 1
        pace.step(25)
    clock.now += 1
    pace.end_epoch(number + 1)


def test_nothing_is_known_before_the_first_step() -> None:
    pace = Pace(10, FakeClock())
    assert pace.images_per_second is None
    assert pace.seconds_left is None
    pace.begin_epoch(0, 100)
    assert pace.images_per_second is None
    assert pace.seconds_left is None


def test_images_per_second_are_those_of_training_without_evaluation() -> None:
    clock = FakeClock()
    pace = Pace(10, clock)
    epoch(pace, clock, 0)
    assert pace.images_per_second == 25
    assert pace.seconds_left == 45  # evaluation included


def test_within_an_epoch() -> None:
    clock = FakeClock()
    pace = Pace(2, clock)
    pace.begin_epoch(0, 100)
    clock.now += 8
    pace.step(50)
    assert pace.fraction_of_epoch == 0.5
    assert pace.images_per_second == 6.25
    assert pace.seconds_left == pytest.approx(24)


def test_epochs_of_an_earlier_process_do_not_count() -> None:
    clock = FakeClock()
    pace = Pace(10, clock)
    epoch(pace, clock, 7)
    assert pace.trained_fraction == pytest.approx(0.1)
    assert pace.seconds_left == pytest.approx(10)


def test_the_second_half_of_a_cohort_that_was_split_starts_again() -> None:
    clock = FakeClock()
    pace = Pace(4, clock)
    for number in range(4):
        epoch(pace, clock, number)
    epoch(pace, clock, 0)
    assert pace.seconds_left == pytest.approx(15)
