import pytest
import torch

from kdsweep.common.types import Output
from kdsweep.losses.kl import KL
from kdsweep.losses.wttm import WTTM


@pytest.mark.parametrize(
    ("exponent", "weighted", "plain"),
    [(0.2, 2.0067756406, 0.7777232586), (0.1, 3.8827639759, 1.1237495302)],
)
def test_golden_values(student, teacher, batch, exponent, weighted, plain):
    """Of distiller_zoo/wttm.py and ttm.py in the authors' repository (zkxufo/TTM)."""
    for expected, options in ((weighted, {}), (plain, {"weighted": False})):
        term = WTTM(T=1 / exponent, weight=1.0, **options)
        assert term(student, teacher, batch).item() == pytest.approx(expected, abs=1e-9)


def test_without_a_temperature_it_is_the_divergence_of_the_predictions(student, teacher, batch):
    for weighted in (True, False):
        value = WTTM(T=1.0, weight=1.0, weighted=weighted)(student, teacher, batch)
        torch.testing.assert_close(value, KL(T=1.0, weight=1.0)(student, teacher, batch))


def test_an_uncertain_image_counts_more(student, batch):
    """An even prediction of C classes has the factor C^(1 - 1 / T)."""
    even = Output(torch.zeros(4, 5, dtype=torch.float64), {})
    weighted = WTTM(T=4.0, weight=1.0)(student, even, batch)
    plain = WTTM(T=4.0, weight=1.0, weighted=False)(student, even, batch)
    assert (weighted / plain).item() == pytest.approx(5 ** (3 / 4))


def test_weighted_must_be_true_or_false():
    with pytest.raises(ValueError, match="weighted must be true or false, got 1"):
        WTTM(T=4.0, weight=1.0, weighted=1)
