"""Calls that are timed in turns."""

import pytest

from kdsweep.deploy import timing


class Clock:
    """Time that passes only in calls; it runs slower or faster as the machine's load does."""

    def __init__(self) -> None:
        self.now, self.load, self.calls = 0.0, 1.0, []

    def call(self, name: str, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.now += seconds * self.load
            if len(self.calls) % 97 == 0:
                self.load = 5.0 if self.load == 1.0 else 1.0

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timing, "TURN", 0.005)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: found.now)
    return found


def test_the_ratio_of_two_calls_is_right_though_the_load_changes(clock: Clock) -> None:
    found = timing.interleaved({"a": clock.call("a", 0.004), "b": clock.call("b", 0.012)}, 4.0)
    assert found["b"] / found["a"] == pytest.approx(3, rel=0.7)
    assert found["b"] > found["a"]


def test_every_call_has_a_turn_in_each_round(clock: Clock) -> None:
    timing.interleaved({"a": clock.call("a", 1.0), "b": clock.call("b", 1.0)}, 0.1)
    of_rounds = "".join(clock.calls[2 * (timing.WARM_UP + 1) :])
    assert of_rounds == "aabb" * timing.LEAST_ROUNDS


def test_short_calls_are_repeated_so_that_the_clock_can_measure_them(clock: Clock) -> None:
    found = timing.interleaved({"a": clock.call("a", 1e-5)}, 0.01)
    assert 0.99e-5 < found["a"] < 5.01e-5  # the load is 1 or 5
    assert len(clock.calls) > 500 * timing.LEAST_ROUNDS
