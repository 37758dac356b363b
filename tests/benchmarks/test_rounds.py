"""benchmarks/speed/rounds.py: what is timed, and the ratios of it."""

from typing import Any

import pytest


@pytest.fixture
def rounds(load: Any) -> Any:
    return load("speed.rounds")


def test_every_round_times_every_column_and_the_warm_up_is_not_kept(rounds: Any) -> None:
    calls: list[tuple[str, int]] = []
    columns = {
        name: rounds.Column(lambda number, name=name: calls.append((name, number)))
        for name in ("a", "b")
    }
    ended: list[int] = []
    samples = rounds.time_rounds(columns, 2, watch=lambda number, seconds: ended.append(number))
    assert calls == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 2, "b": 2}
    assert ended == [0, 1, 2]


def test_a_part_of_a_column_counts_for_all(rounds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "timed", lambda work, device: 2.0)
    columns = {"whole": rounds.Column(print), "third": rounds.Column(print, scale=3.0)}
    assert rounds.time_rounds(columns, 1) == {"whole": [2.0], "third": [6.0]}


def test_a_ratio_is_taken_within_a_round(rounds: Any) -> None:
    over, floor, teacher = [1.0, 20.0, 4.0], [1.0, 15.0, 2.0], [1.0, 5.0, 3.0]
    assert rounds.ratio(over, floor, teacher) == rounds.Spread(0.8, 0.5, 1.0)


def test_figures_as_text(rounds: Any) -> None:
    assert str(rounds.Spread(0.3351, 0.2, 1.004)) == "0.335 (0.200..1.00)"
    assert [rounds.digits(value) for value in (9.99, 12.34, 130.6)] == ["9.99", "12.3", "131"]
