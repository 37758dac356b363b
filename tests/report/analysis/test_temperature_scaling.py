"""Calibrated temperatures and scores, against what is known and against other implementations."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from collection import drawn
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from kdsweep.report.analysis.temperature_scaling import (
    bootstrap_interval,
    calibrated_temperature,
    is_reached,
    log_probabilities,
    mean_nll,
    probabilities,
    reliability,
    scores,
)
from kdsweep.training.evaluation import calibration_error

LOGITS, LABELS = drawn(2000, 10, T=2.5)


def test_the_temperature_that_labels_were_drawn_at_is_found() -> None:
    T = calibrated_temperature(LOGITS, LABELS)
    low, high = bootstrap_interval(LOGITS, LABELS, T)
    assert low < 2.5 < high
    assert low < T < high
    assert high - low < 0.4


@pytest.mark.ci
@pytest.mark.parametrize(
    "true", [0.5, *(pytest.param(T, marks=pytest.mark.slow) for T in (1.0, 6.0))]
)
def test_the_interval_contains_the_true_temperature_as_often_as_it_should(
    true: float,
) -> None:
    held = 0
    for seed in range(20):
        logits, labels = drawn(400, 5, T=true, seed=seed)
        low, high = bootstrap_interval(logits, labels, calibrated_temperature(logits, labels))
        held += low <= true <= high
    assert 16 <= held <= 20


def test_no_other_temperature_has_a_smaller_nll() -> None:
    def nll(log_T: float) -> float:
        return log_loss(LABELS, torch.softmax(torch.tensor(LOGITS) / math.exp(log_T), 1))

    found = minimize_scalar(nll, bracket=(0, 1), tol=1e-12)
    assert calibrated_temperature(LOGITS, LABELS) == pytest.approx(math.exp(found.x), rel=1e-4)


def test_torch_lbfgs_finds_the_same_temperature() -> None:
    """The recipe of Guo et al., with torch's optimizer and its own derivatives."""
    log_T = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_T], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(torch.tensor(LOGITS) / log_T.exp(), torch.tensor(LABELS))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert calibrated_temperature(LOGITS, LABELS) == pytest.approx(log_T.exp().item(), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 7.0, 1e3])
def test_scaling_the_logits_scales_the_temperature(scale: float) -> None:
    T = calibrated_temperature(LOGITS, LABELS)
    assert calibrated_temperature(scale * LOGITS, LABELS) == pytest.approx(scale * T, rel=1e-6)


def test_a_constant_added_to_an_images_logits_changes_nothing() -> None:
    moved = LOGITS + 1000 * np.arange(len(LOGITS))[:, None]
    T = calibrated_temperature(LOGITS, LABELS)
    # The start does not matter: here it is a thousand times too high.
    assert calibrated_temperature(moved, LABELS) == pytest.approx(T, rel=1e-6)


def test_one_that_is_always_right_has_no_calibrated_temperature() -> None:
    T = calibrated_temperature(LOGITS, LOGITS.argmax(1))
    assert T == 0
    assert not is_reached(T)


def test_logits_without_information_have_no_calibrated_temperature() -> None:
    assert calibrated_temperature(LOGITS, LOGITS.argmin(1)) == math.inf
    assert calibrated_temperature(np.ones((5, 3)), np.zeros(5, int)) == math.inf
    assert not is_reached(math.inf)


def test_the_interval_begins_at_zero_where_draws_lack_an_error() -> None:
    """With one wrong answer of 60, a third of all draws has none: (1 - 1/60)^60."""
    logits, _ = drawn(60, 5, T=1.0)
    labels = logits.argmax(1)
    labels[0] = np.argsort(logits[0])[-2]
    T = calibrated_temperature(logits, labels)
    assert is_reached(T)
    low, high = bootstrap_interval(logits, labels, T)
    assert low == 0
    assert T < high < 16 * T


def test_scores_are_those_of_other_libraries() -> None:
    found = torch.softmax(torch.tensor(LOGITS) / 1.7, 1)
    one_hot = np.eye(10)[LABELS]
    ours = scores(LOGITS, LABELS, T=1.7)
    assert ours.nll == pytest.approx(log_loss(LABELS, found), abs=1e-9)
    assert ours.brier == pytest.approx(((found.numpy() - one_hot) ** 2).sum(1).mean(), abs=1e-9)
    ece = calibration_error(torch.tensor(LOGITS) / 1.7, torch.tensor(LABELS))
    assert ours.ece == pytest.approx(ece, abs=1e-9)
    assert mean_nll(LOGITS, LABELS, [1.7, 1.0])[0] == pytest.approx(ours.nll, abs=1e-12)


def test_brier_is_between_nothing_and_two() -> None:
    sure = 100 * np.eye(3)
    assert scores(sure, np.arange(3)).brier == pytest.approx(0)
    assert scores(sure, np.array([1, 2, 0])).brier == pytest.approx(2)


def test_probabilities_are_softmax() -> None:
    theirs = torch.softmax(torch.tensor(LOGITS) / 3, 1).numpy()
    np.testing.assert_allclose(probabilities(LOGITS, 3), theirs, rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_probabilities(LOGITS, 3)), theirs, rtol=1e-12)


def test_the_bins_add_up_to_the_calibration_error() -> None:
    bins = reliability(LOGITS, LABELS, T=0.5)
    gap = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / len(LABELS)
    assert sum(one.count for one in bins) == len(LABELS)
    assert gap == pytest.approx(scores(LOGITS, LABELS, T=0.5).ece, abs=1e-12)
    assert gap > 0.05  # labels were drawn at another T
