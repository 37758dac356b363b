"""Values and gradients of the terms on features in float32, against the same term in float64."""

import copy

import pytest
import torch
from feature_terms import PLAIN, TERMS

from kdsweep.common.types import Batch, Output
from kdsweep.losses.crd import CRD
from kdsweep.losses.srd import SRD

ALL = {**TERMS, "SRD": SRD}
SCALES = (1e-3, 1.0, 1e4)
# What a term learns are layers of float32, as those of the networks: where the variance of a map is
# far below BatchNorm's own epsilon, their rounding is a part of 1e-5 of their output, or more.
VALUE = dict.fromkeys(ALL, 2e-5) | dict.fromkeys(PLAIN, 1e-5)
GRADIENT = dict.fromkeys(ALL, 1e-4) | dict.fromkeys(PLAIN, 1e-5)
IMAGES = 16


def output(features):
    named = {f"f{n}": feature for n, feature in enumerate(features)}
    return Output(torch.zeros(len(features[0]), 10), named)


def features(kind, scale, shape=(IMAGES, 6, 4, 4)):
    """Two maps of the student's and two of the teacher's."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, *shape, generator=generator)
    ours, theirs = maps[:2], maps[2:]
    if kind == "alike":
        ours = theirs + 0.03 * ours
    elif kind == "behind a ReLU":
        ours, theirs = ours.relu(), theirs.relu()
    elif kind == "far from 0":
        ours, theirs = ours + 10, theirs + 10
    return list(ours * scale), list(theirs * scale)


def compared(term, ours, theirs, temperature=None):
    """Relative errors of the value and, by the L2 norm, of the student's gradient."""
    batch = Batch(torch.zeros(IMAGES, 1, 2, 2), torch.arange(IMAGES) % 10, torch.arange(IMAGES))
    twin, found = copy.deepcopy(term).double(), []
    for each, dtype in ((term, torch.float32), (twin, torch.float64)):
        leaves = [feature.to(dtype).requires_grad_() for feature in ours]
        value = each(output(leaves), output([t.to(dtype) for t in theirs]), batch)
        assert value.dtype == dtype
        slopes = torch.autograd.grad(value, leaves, materialize_grads=True, allow_unused=True)
        found.append((value.double(), torch.cat([slope.double().flatten() for slope in slopes])))
    (value, gradient), (exact, slope) = found
    return ((value - exact) / exact).abs().item(), ((gradient - slope).norm() / slope.norm()).item()


def bound(name, ours, theirs, **options):
    options = {"CRD": {"negatives": 16}, "SRD": {"exponent": 4.0}}.get(name, {}) | options
    torch.manual_seed(0)
    term = ALL[name]([["f0", "f0"], ["f1", "f1"]], weight=1.0, **options)
    term.setup(output(ours), output(theirs), torch.arange(50) % 10)
    return term


def same_draws(monkeypatch):
    """CRD draws other images in another type."""
    drawn = torch.randint(0, 3, (IMAGES, 50), generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr("kdsweep.losses.crd.OtherClasses.draw_counts", lambda *_: drawn.float())


@pytest.mark.parametrize("kind", ["apart", "alike", "behind a ReLU", "far from 0"])
@pytest.mark.parametrize("name", ALL)
def test_value_and_gradient_at_every_scale_of_the_features(name, kind, monkeypatch):
    same_draws(monkeypatch)
    for scale in SCALES:
        ours, theirs = features(kind, scale)
        value, gradient = compared(bound(name, ours, theirs), ours, theirs)
        assert value < VALUE[name]
        assert gradient < GRADIENT[name]


@pytest.mark.parametrize("kind", ["alike", "behind a ReLU", "far from 0"])
@pytest.mark.parametrize("name", ["SP", "AT"])
def test_large_maps_too(name, kind):
    """One sum in float32 over all of a map was wrong by 2e-4 in `sp`, 2e-5 in `at`."""
    ours, theirs = features(kind, 1.0, shape=(IMAGES, 256, 16, 16))
    value, gradient = compared(bound(name, ours, theirs), ours, theirs)
    assert max(value, gradient) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_bf16_features_give_the_value_of_the_same_numbers(name, monkeypatch):
    same_draws(monkeypatch)
    ours, theirs = ([part.bfloat16() for part in side] for side in features("apart", 1.0))
    term = bound(name, ours, theirs).eval()
    batch = Batch(torch.zeros(IMAGES, 1, 2, 2), torch.arange(IMAGES) % 10, torch.arange(IMAGES))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(output(ours), output(theirs), batch)
    wide = [output([part.double() for part in side]) for side in (ours, theirs)]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(term.double()(*wide, batch).item(), rel=VALUE[name])


@pytest.mark.parametrize("temperature", [0.02, 0.07, 1.0, 1e3, 1e6])
def test_the_temperature_of_crd_with_a_memory_that_has_learned(temperature, monkeypatch):
    """exp(1 / 0.02) is 5e21, and its square more than float32 holds."""
    same_draws(monkeypatch)
    ours, theirs = features("apart", 1.0, shape=(IMAGES, 8))
    term = bound("CRD", ours, theirs, temperature=temperature, dim=16)
    assert isinstance(term, CRD)
    batch = Batch(torch.zeros(IMAGES, 1, 2, 2), torch.arange(IMAGES) % 10, torch.arange(IMAGES))
    with torch.no_grad():
        for _ in range(8):
            term(output(ours), output(theirs), batch)
    value, gradient = compared(term, ours, theirs)
    assert max(value, gradient) < 1e-5


def test_images_that_are_nearly_alike_are_told_apart_by_pkt():
    """Behind a ReLU all embeddings point nearly the same way: float32 was wrong by 70 %."""
    ours, theirs = features("far from 0", 1.0, shape=(IMAGES, 32))
    value, gradient = compared(bound("PKT", ours, theirs), ours, theirs)
    assert max(value, gradient) < 1e-5


@pytest.mark.parametrize("exponent", [1.0, 4.0, 100.0])
def test_every_exponent_of_srd(exponent):
    ours, theirs = features("apart", 1.0, shape=(IMAGES, 8))
    value, gradient = compared(bound("SRD", ours, theirs, exponent=exponent), ours, theirs)
    assert max(value, gradient) < 1e-4
