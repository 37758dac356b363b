"""A unit ends its epoch if there is time for it, and else ends after the next step."""

import pytest

from kdsweep.work.stopping import GRACE, GRACE_SECONDS, Parked, Stopping, grace_seconds


class Training:
    """An epoch of ten seconds."""

    def __init__(self) -> None:
        self.now, self.left = 0.0, 10.0
        self.stopping = Stopping(lambda: self.left, lambda: self.now)

    def step(self) -> None:
        self.now, self.left = self.now + 1, self.left - 1
        self.stopping.at_step()


def test_nothing_stops_unless_it_is_requested() -> None:
    training = Training()
    training.step()
    training.stopping.at_epoch()
    assert not training.stopping.is_requested


def test_a_training_stops_after_the_step() -> None:
    training = Training()
    training.stopping.request()
    with pytest.raises(Parked):
        training.step()


def test_an_epoch_that_ends_in_time_is_trained_to_its_end() -> None:
    training = Training()
    training.stopping.request(20)
    for _ in range(10):
        training.step()
    with pytest.raises(Parked):
        training.stopping.at_epoch()


def test_an_epoch_that_turns_out_to_be_too_long_is_not() -> None:
    training = Training()
    training.stopping.request(20)
    training.step()
    training.left = 30
    with pytest.raises(Parked):
        training.step()


def test_the_earlier_of_two_requests_counts() -> None:
    training = Training()
    training.stopping.request()
    training.stopping.request(20)
    with pytest.raises(Parked):
        training.step()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("x", GRACE_SECONDS), (None, GRACE_SECONDS)]
)
def test_a_scheduler_gives_the_time(
    monkeypatch: pytest.MonkeyPatch, text: str | None, seconds: float
) -> None:
    monkeypatch.delenv(GRACE, raising=False)
    if text is not None:
        monkeypatch.setenv(GRACE, text)
    assert grace_seconds() == seconds
