"""Who gets another seed, as properties of made accuracies."""

import math
import random
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdsweep.search.racing import MIN_DEGREES_OF_FREEDOM, incumbent, may_be_best, seed_noise

SEEDS = 3
# whole numbers, so that a shift by a seed's effect rounds nothing
accuracy = st.integers(-1000, 1000).map(float)
trial = st.lists(accuracy, min_size=1, max_size=SEEDS)
trials = st.lists(trial, max_size=12)
noise = st.none() | st.floats(0, 100)
shifts = st.lists(accuracy, min_size=SEEDS, max_size=SEEDS)
Z = math.pi / 3  # irrational: no made accuracies lie on the bound exactly


def shifted(values: list[float], by: list[float]) -> list[float]:
    """A trial as it would be with these effects of the seeds."""
    return [value + shift for value, shift in zip(values, by, strict=False)]


@pytest.mark.ci
@given(trials, noise, st.floats(0, 5))
def test_the_incumbent_is_never_raced_out(
    found: list[list[float]], noise: float | None, z: float
) -> None:
    best = incumbent(found, SEEDS)
    assume(best is not None)
    assert all(may_be_best(best[:done], best, noise, z=z) for done in range(SEEDS + 1))


@given(trial, trial, noise, st.lists(st.integers(0, 500), min_size=SEEDS, max_size=SEEDS))
def test_a_better_candidate_is_not_raced_out_where_a_worse_one_stays(
    candidate: list[float], best: list[float], noise: float | None, gains: list[int]
) -> None:
    if may_be_best(candidate, best, noise):
        assert may_be_best(shifted(candidate, gains), best, noise)


@given(trial, trial, st.floats(0, 100), st.floats(0, 100), st.floats(0, 5))
def test_more_noise_races_nobody_out(
    candidate: list[float], best: list[float], less: float, more: float, z: float
) -> None:
    less, more = sorted([less, more])
    if may_be_best(candidate, best, less, z=z):
        assert may_be_best(candidate, best, more, z=z)


@given(trials, shifts)
def test_the_effect_of_a_seed_changes_no_decision(
    found: list[list[float]], effects: list[float]
) -> None:
    moved = [shifted(values, effects) for values in found]
    before, after = seed_noise(found), seed_noise(moved)
    assert before == (after if after is None else pytest.approx(after, abs=1e-9))
    best, moved_best = incumbent(found, SEEDS), incumbent(moved, SEEDS)
    assert moved_best == (None if best is None else shifted(list(best), effects))
    for candidate, moved_candidate in zip(found, moved, strict=True):
        assert may_be_best(candidate, best, before, z=Z) == may_be_best(
            moved_candidate, moved_best, after, z=Z
        )


@pytest.mark.ci
@given(trials, st.randoms())
def test_the_order_of_the_trials_changes_no_estimate(
    found: list[list[float]], shuffle: random.Random
) -> None:
    other = shuffle.sample(found, len(found))
    assert seed_noise(other) == pytest.approx(seed_noise(found), abs=1e-9)


@given(trials, st.lists(accuracy, min_size=12, max_size=12))
def test_how_good_the_trials_are_changes_no_estimate(
    found: list[list[float]], levels: list[float]
) -> None:
    moved = [
        [value + level for value in values] for values, level in zip(found, levels, strict=False)
    ]
    assert seed_noise(moved) == pytest.approx(seed_noise(found), abs=1e-9)


def test_the_noise_is_unknown_until_five_trials_have_two_seeds() -> None:
    few = [[float(i), float(i)] for i in range(MIN_DEGREES_OF_FREEDOM)]
    assert seed_noise([]) is None
    assert seed_noise([[1.0]] * 20) is None
    assert seed_noise([*few, [1.0]]) is None
    assert seed_noise([*few, [1.0, 1.0]]) == 0


def test_the_noise_leaves_out_what_the_seed_does() -> None:
    draw = random.Random(0)
    effects = [draw.gauss(0, 5) for _ in range(4)]
    found = [
        [level + effects[seed] + draw.gauss(0, 0.25) for seed in range(draw.randint(1, 4))]
        for level in (draw.uniform(60, 95) for _ in range(2000))
    ]
    assert seed_noise(found) == pytest.approx(0.25, rel=0.05)


def test_with_two_seeds_it_is_the_spread_of_the_differences() -> None:
    found = [[90.0, 90.5], [91.0, 90.0], [88.0, 88.25], [92.0, 93.0], [91.5, 91.0]]
    spread = statistics.stdev(second - first for first, second in found)
    assert seed_noise(found) == pytest.approx(spread / math.sqrt(2))


def test_everyone_continues_while_nothing_is_known() -> None:
    assert may_be_best([0.0], None, 0.1)
    assert may_be_best([0.0], [99.0, 99.0], None)
    assert may_be_best([], [99.0, 99.0], 0.1)


@pytest.mark.parametrize(
    ("candidate", "stays"), [([89.8], True), ([89.6], False), ([89.8, 89.8], False)]
)
def test_the_more_seeds_the_smaller_a_gap_is_forgiven(candidate: list[float], stays: bool) -> None:
    # 0.2 * sqrt(2) = 0.28 behind on one seed, 0.2 on two, less a little for rounding
    assert may_be_best(candidate, [90.0, 90.01, 90.0], 0.2, z=1) is stays


def test_incumbents_have_all_seeds() -> None:
    assert incumbent([], 2) is None
    assert incumbent([[99.0], [80.0]], 2) is None
    assert incumbent([[99.0], [80.0, 81.0], [81.0, 82.0], [82.0, 81.0]], 2) == [81.0, 82.0]
