"""Statistics: against figures that others have printed, and by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from kdsweep.report.analysis.statistics import (
    Comparison,
    compare,
    compare_cells,
    detectable_difference,
    holm,
    pooled,
    seeds_needed,
    summary,
)

# Student (1908): hours of sleep gained with two drugs, R's `sleep`, whose help page runs
# t.test(extra ~ group, paired = TRUE): t = -4.0621, df = 9, p = 0.002833, [-2.4598858 -0.7001142].
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


Grid = Callable[..., dict[str, dict[int, float]]]


def seeds(values: "list[float] | np.ndarray") -> dict[int, float]:
    return {seed: float(value) for seed, value in enumerate(values)}


def only(ours: dict[int, float], theirs: dict[int, float]) -> Comparison:
    return compare({"only": (ours, theirs)})["only"]


def test_a_paired_test_is_that_of_r() -> None:
    found = only(seeds(FIRST), seeds(SECOND))
    assert found.n == 10
    assert found.difference == pytest.approx(-1.58)
    assert found.p == pytest.approx(0.002832890, abs=1e-8)
    assert found.p_corrected == found.p
    assert found.interval == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert found.verdict == "LOSES"
    assert only(seeds(SECOND), seeds(FIRST)).verdict == "BEATS"


def test_holm_is_that_of_r() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    found = holm({"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.04, "e": 0.05})
    assert found == pytest.approx({"a": 0.05, "b": 0.08, "c": 0.09, "d": 0.09, "e": 0.09})


def test_what_was_not_tested_does_not_count_in_holm() -> None:
    assert holm({"a": 0.04, "b": None}) == {"a": 0.04, "b": None}
    assert holm({"a": None}) == {"a": None}


def test_power_is_that_of_r() -> None:
    # power.t.test(n = 20, sd = 1, power = .8, type = "paired"): delta = 0.6601
    assert detectable_difference(1.0, 20) == pytest.approx(0.6604, abs=1e-3)
    # power.t.test(delta = .5, sd = 1, power = .8, type = "paired"): n = 33.3671
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(0.001, 1.0) is None
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(100.0, 1.0) == 2


def test_a_summary_has_the_sample_sd_and_the_interval_of_t() -> None:
    found = summary([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    reach = 4.302652729911275 / math.sqrt(3)  # of t with two degrees of freedom
    assert found.t_interval == pytest.approx((2 - reach, 2 + reach))
    assert found.bootstrap_interval is None


def test_from_five_seeds_on_there_is_a_bootstrap_interval_inside_of_what_was_seen() -> None:
    values = [0.90, 0.91, 0.92, 0.93, 0.99]
    low, high = summary(values).bootstrap_interval or (0, 0)
    assert 0.90 < low < summary(values).mean < high < 0.99
    assert summary(values).bootstrap_interval == (low, high)


def test_one_seed_has_a_mean_and_nothing_else() -> None:
    found = summary([0.5])
    assert (found.n, found.mean) == (1, 0.5)
    assert (found.sd, found.t_interval, found.bootstrap_interval) == (None, None, None)
    assert only({0: 0.9}, {0: 0.1}).verdict is None


def test_equal_values_have_no_spread_to_judge_by() -> None:
    assert summary([0.9] * 5).bootstrap_interval is None
    found = only(seeds([0.9] * 5), seeds([0.8] * 5))
    assert found.difference == pytest.approx(0.1)
    assert (found.p, found.verdict) == (None, None)


def test_only_shared_seeds_are_compared() -> None:
    ours, theirs = {0: 0.5, 1: 0.7, 2: 0.9}, {1: 0.6, 2: 0.7, 3: 0.1}
    found = only(ours, theirs)
    assert found.n == 2
    assert found.difference == pytest.approx(0.15)
    assert only({0: 1.0}, {1: 1.0}).difference is None


def test_the_pooled_spread_is_that_of_a_block_design() -> None:
    values = {"a": [10.0, 12.0, 11.0], "b": [11.0, 14.0, 12.0], "c": [13.0, 14.0, 14.5]}
    found = pooled({name: seeds(values) for name, values in values.items()})
    table = np.array(list(values.values()))
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    assert found is not None
    assert found.spread.df == 4
    assert found.spread.sd == pytest.approx(math.sqrt(2 * (residual**2).sum() / 4))


def test_two_cells_have_the_paired_test_from_both_functions() -> None:
    cells = {"first": seeds(FIRST), "second": seeds(SECOND)}
    found = compare_cells(cells, {"first": "second"})["first"]
    assert found == only(seeds(FIRST), seeds(SECOND))
    assert found.df == found.n - 1


def test_cells_that_do_not_vary_alike_are_tested_by_their_own_spread(simulated: Grid) -> None:
    cells = simulated(0.0)
    assert pooled(cells) is not None
    wild = {seed: 30 * value for seed, value in cells["3"].items()}
    against = dict.fromkeys(list(cells)[1:], "0")
    found = compare_cells({**cells, "3": wild}, against)
    assert found == compare({n: ({**cells, "3": wild}[n], cells["0"]) for n in against})


def test_a_baseline_that_varies_more_than_the_rest_is_compared_by_its_own_spread() -> None:
    wave = np.array(
        [[np.sin(3.0 * cell + 1.7 * seed * cell) for seed in range(5)] for cell in range(1, 10)]
    )
    values = (wave - wave.mean(1, keepdims=True)) / wave.std(1, keepdims=True)
    values[0] *= 2.0  # too little for Bartlett's test
    cells = {str(cell): seeds(values[cell]) for cell in range(9)}
    found = pooled(cells)
    assert found is not None
    assert found.heteroscedastic == {"0"}
    against = dict.fromkeys(list(cells)[1:], "0")
    assert compare_cells(cells, against) == compare({n: (cells[n], cells["0"]) for n in against})
    assert compare_cells(cells, {"1": "2", "0": "3"})["1"].n == 5
    steady = compare_cells(cells, dict.fromkeys(["0", "1", *"3456789"[:6]], "2"))
    assert all(one.df > one.n - 1 for one in steady.values())


def test_a_comparison_is_the_same_from_the_other_side() -> None:
    found = only(seeds(FIRST), seeds(SECOND))
    assert found.reversed == only(seeds(SECOND), seeds(FIRST))


def test_cells_without_spread_or_seeds_do_not_pool() -> None:
    still = {str(cell): seeds([0.1 * cell] * 5) for cell in range(4)}
    assert pooled(still) is None
    assert compare_cells(still, {"1": "0"})["1"].verdict is None
    assert pooled({str(cell): {0: 0.1 * cell} for cell in range(4)}) is None


def test_a_cell_with_fewer_seeds_is_compared_over_those_it_has(simulated: Grid) -> None:
    cells = simulated(0.0)
    cells["2"] = {seed: value for seed, value in cells["2"].items() if seed < 2}
    found = compare_cells(cells, dict.fromkeys(list(cells)[1:], "0"))
    assert (found["2"].n, found["1"].n) == (2, 5)
    assert found["2"].df == found["1"].df == 9 * 5 - 3 - 9 - 4  # values, less cells and seeds


def test_a_pooled_spread_finds_smaller_differences() -> None:
    assert detectable_difference(1.0, 5, df=32) < detectable_difference(1.0, 5)
    assert detectable_difference(1.0, 5, df=4) == pytest.approx(detectable_difference(1.0, 5))
    few = seeds_needed(1.0, 1.0, df_per_seed=8)
    assert few is not None
    assert few < (seeds_needed(1.0, 1.0) or 0)


@pytest.fixture
def simulated() -> Grid:
    """`simulated(2.0)`: a baseline, "0", and eight cells, five seeds, variance 1 by default.

    The first cell is better by so much; the others are as the baseline. ``shared`` is the part of
    the variance that all cells of a seed have in common, ``of_baseline`` the baseline's sd.
    """
    random = np.random.default_rng(20)

    def grid(
        better: float, shared: float = 0.5, of_baseline: float = 1.0
    ) -> dict[str, dict[int, float]]:
        common = math.sqrt(shared) * random.standard_normal(5)
        values = common + math.sqrt(1 - shared) * random.standard_normal((9, 5))
        values[1] += better
        values[0] *= of_baseline
        return {str(cell): seeds(values[cell]) for cell in range(9)}

    return grid


def winners(cells: dict[str, dict[int, float]]) -> set[str]:
    """The cells that are reported to beat the baseline."""
    found = compare_cells(cells, dict.fromkeys(list(cells)[1:], "0"))
    return {name for name, one in found.items() if one.verdict == "BEATS"}


@pytest.mark.ci
@pytest.mark.parametrize(
    ("shared", "of_baseline"),
    [
        pytest.param(0.0, 1.0, marks=pytest.mark.slow),
        pytest.param(0.5, 1.0, marks=pytest.mark.slow),
        (0.8, 1.0),
        pytest.param(0.0, 2.0, marks=pytest.mark.slow),
        pytest.param(0.0, 3.0, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("grids", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_without_a_difference_hardly_a_grid_has_a_winner(
    simulated: Grid, grids: int, shared: float, of_baseline: float
) -> None:
    wrong = sum(bool(winners(simulated(0.0, shared, of_baseline))) for _ in range(grids))
    print(shared, of_baseline, wrong / grids)
    assert wrong <= 0.05 * grids


@pytest.mark.ci
@pytest.mark.parametrize(
    "shared", [*(pytest.param(s, marks=pytest.mark.slow) for s in (0, 0.5)), 0.8]
)
@pytest.mark.parametrize("grids", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_difference_of_two_sd_is_found_by_five_seeds_in_most_grids(
    simulated: Grid, grids: int, shared: float
) -> None:
    found = sum("1" in winners(simulated(2.0, shared)) for _ in range(grids))
    print(shared, found / grids)
    assert found > 0.5 * grids
