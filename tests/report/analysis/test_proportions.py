import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from kdsweep.report.analysis.proportions import wilson


def test_wilsons_interval_is_that_of_statsmodels() -> None:
    counts = np.array([1.0, 7.5, 40.0, 1000.0, 20.0])
    shares = np.array([0.0, 0.2, 0.5, 0.999, 1.0])
    wanted = proportion_confint(shares * counts, counts, method="wilson")
    assert np.allclose(wilson(shares, counts), wanted, rtol=0, atol=1e-12)
    assert wilson(0.25, 12) == pytest.approx(proportion_confint(3, 12, method="wilson"))
