"""Two classifiers on the same images."""

import numpy as np
import pytest
from scipy.stats import binomtest

from kdsweep.report.analysis.contingency import ContingencyTable, contingency


def of_counts(both: int, only_first: int, only_second: int, neither: int) -> ContingencyTable:
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return contingency(first, second)


def test_its_counts_and_the_exact_test() -> None:
    table = of_counts(80, 12, 3, 5)
    assert (table.both, table.only_first, table.only_second, table.neither) == (80, 12, 3, 5)
    assert table.p == pytest.approx(binomtest(3, 15).pvalue)


def test_the_interval_is_that_of_agresti_and_min() -> None:
    # Walds's of the table with 0.5 more in each cell, computed by hand.
    table = of_counts(80, 12, 3, 5)
    assert table.difference == -0.09
    middle, deviation = -9 / 102, np.sqrt((12.5 + 3.5 - 81 / 102) / 102**2)
    assert table.interval == pytest.approx(
        (middle - 1.96 * deviation, middle + 1.96 * deviation), abs=1e-4
    )


def test_without_a_difference_there_is_still_an_interval() -> None:
    table = of_counts(50, 0, 0, 0)
    assert (table.difference, table.p) == (0, 1)
    assert table.interval[0] == -table.interval[1] < 0
