import pytest
import torch

from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.crd import CRD
from kdsweep.losses.dkd import DKD
from kdsweep.losses.fitnet import FitNet
from kdsweep.losses.fsp import FSP
from kdsweep.losses.kl import KL
from kdsweep.losses.sp import SP


def test_terms_on_logits(student, teacher, batch):
    zs, zt = student.logits.requires_grad_(), teacher.logits
    value = compute_loss(KL(T=4, weight=0.5), zs, zt)
    assert value.item() == pytest.approx(1.0234471137, abs=1e-9)
    assert value.requires_grad
    decoupled = compute_loss(DKD(T=4, alpha=1, beta=2, weight=1), zs, zt, batch.labels)
    assert decoupled.item() == pytest.approx(1.9183912318, abs=1e-9)


def test_terms_on_features(golden):
    value = compute_loss(SP([["student_map", "teacher_map"]], weight=1), golden.fs, golden.ft)
    assert value.item() == pytest.approx(0.0013020256, abs=1e-9)
    two = FSP([["a", "x"], ["b", "y"]], weight=1)
    value = compute_loss(two, [golden.fs] * 2, [golden.ft3] * 2)
    assert value.item() == pytest.approx(0.0011854964, abs=1e-9)


def test_a_learned_term_is_set_up_once(golden):
    term = FitNet([["f", "f"]], weight=1)
    first = compute_loss(term, golden.es, golden.et)
    (link,) = term.links
    assert torch.equal(compute_loss(term, golden.es, golden.et), first)
    assert term.links[0] is link


def test_crd_takes_the_images_for_the_training_set(golden, batch):
    value = compute_loss(CRD([["e", "e"]], 1, negatives=4), golden.es, golden.et, batch.labels)
    assert torch.isfinite(value)


@pytest.mark.parametrize(
    ("term", "tensors", "sentence"),
    [
        (DKD(T=4, alpha=1, beta=8, weight=1), torch.zeros(2, 3), "labels must be given, DKD needs"),
        (
            SP([["a", "b"]], 1),
            [torch.zeros(2, 3)] * 2,
            "tensors must be as many as pairs, 1, got 2",
        ),
        (FSP([["a", "b"]] * 2, 1), [torch.zeros(2, 3)] * 2, "features must be maps"),
    ],
)
def test_what_cannot_be_compared_is_refused(term, tensors, sentence):
    with pytest.raises(ValueError, match=sentence):
        compute_loss(term, tensors, tensors)
