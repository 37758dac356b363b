"""The interval of an accuracy over images."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from kdsweep.report.analysis.proportion import wilson


@pytest.mark.parametrize(("right", "images"), [(0, 10), (7, 10), (10, 10), (683, 719)])
def test_it_is_that_of_statsmodels(right: int, images: int) -> None:
    expected = proportion_confint(right, images, method="wilson")
    assert wilson(right / images, images) == pytest.approx(expected)
