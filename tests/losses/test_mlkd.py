import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kdsweep.losses.base import soft_targets
from kdsweep.losses.kl import kl_divergence
from kdsweep.losses.mlkd import MLKD, alignment

FACTORS = [0.5, 0.75, 1.0, 1.25, 1.5]


def numpy_mlkd(student, teacher, temperatures):
    """The repository's formula on one view, without masks: no value of its own is known."""
    total = 0
    for T in temperatures:
        p, q = (np.exp(z / T) / np.exp(z / T).sum(1, keepdims=True) for z in (teacher, student))
        images, classes = p.shape
        total += T**2 * np.sum(p * np.log(p / q)) / images
        total += np.sum((q @ q.T - p @ p.T) ** 2) / images
        total += np.sum((q.T @ q - p.T @ p) ** 2) / classes
    return total


def test_numpy_reference_at_the_papers_temperatures(student, teacher, batch):
    value = MLKD(T=4, factors=FACTORS, weight=0.9)(student, teacher, batch).item()
    expected = numpy_mlkd(student.logits.numpy(), teacher.logits.numpy(), [2, 3, 4, 5, 6])
    assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("images", "classes"), [(7, 3), (3, 7), (4, 4)])
def test_more_images_than_classes_and_fewer(images, classes):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, images, classes, generator=generator, dtype=torch.float64)
    expected = numpy_mlkd(*logits.numpy(), [1.5])
    assert alignment(*logits, 1.5).item() == pytest.approx(expected, rel=1e-12)


def test_a_temperature_costs_one_comparison_and_no_matrix_of_classes(monkeypatch):
    """4 images of 1000 classes: C x C would be a million numbers."""
    sizes, original = [], soft_targets.kl_gap_and_target

    def counted(target, shift):
        sizes.append(target.shape)
        return original(target, shift)

    monkeypatch.setattr(soft_targets, "kl_gap_and_target", counted)
    logits = torch.randn(2, 4, 1000, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        alignment(*logits, 1.0)
    assert sizes == [(4, 1000)]
    assert counter.get_total_flops() <= 3 * 2 * 4 * 1000 * 4


def test_the_levels_beyond_the_single_image_see_relations(student, teacher):
    """Two images that swap their predictions: as likely alike as before, but not image by image."""
    swapped = teacher.logits[[1, 0, 3, 2]]
    beyond = alignment(swapped, teacher.logits, 2.0) - kl_divergence(swapped, teacher.logits, 2.0)
    q, p = (z.div(2).softmax(1) for z in (swapped, teacher.logits))
    torch.testing.assert_close(beyond, (q @ q.T - p @ p.T).square().sum() / 4)


def test_one_factor_is_one_temperature(student, teacher, batch):
    value = MLKD(T=3, factors=[1], weight=1.0)(student, teacher, batch)
    torch.testing.assert_close(value, alignment(student.logits, teacher.logits, 3.0))


@pytest.mark.parametrize("factors", [[], None, 1.0, "1", [0], [-1], ["a"], [True], [float("nan")]])
def test_bad_factors_are_refused(factors):
    with pytest.raises(ValueError, match="factors must be"):
        MLKD(T=4, factors=factors, weight=1.0)
