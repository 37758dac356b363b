"""Values and gradients of the terms on features in float32, against the same term in float64."""

import copy

import pytest
import torch
from feature_terms import PLAIN, TERMS
from torch import nn

from kdsweep.common.types import Batch, Output
from kdsweep.losses.crd import CRD
from kdsweep.losses.pad import PAD
from kdsweep.losses.srd import SRD

ALL = {**TERMS, "PAD": PAD, "SRD": SRD}
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
    fs, ft = maps[:2], maps[2:]
    if kind == "alike":
        fs = ft + 0.03 * fs
    elif kind == "behind a ReLU":
        fs, ft = fs.relu(), ft.relu()
    elif kind == "far from 0":
        fs, ft = fs + 10, ft + 10
    return list(fs * scale), list(ft * scale)


def compared(term, fs, ft, temperature=None):
    """Relative errors of the value and, by the L2 norm, of the student's gradient."""
    batch = Batch(torch.zeros(IMAGES, 1, 2, 2), torch.arange(IMAGES) % 10, torch.arange(IMAGES))
    twin, results = copy.deepcopy(term).double(), []
    for each, dtype in ((term, torch.float32), (twin, torch.float64)):
        leaves = [feature.to(dtype).requires_grad_() for feature in fs]
        torch.manual_seed(1)  # MGD draws masks
        value = each(output(leaves), output([t.to(dtype) for t in ft]), batch)
        assert value.dtype == dtype
        slopes = torch.autograd.grad(value, leaves, materialize_grads=True, allow_unused=True)
        results.append((value.double(), torch.cat([slope.double().flatten() for slope in slopes])))
    (value, gradient), (exact, slope) = results
    return relative_error(value, exact), relative_error(gradient, slope)


def relative_error(found, exact):
    if torch.equal(found, exact):  # 0 and 0 too: AB where every neuron is beyond the margin
        return 0.0
    return ((found - exact).norm() / exact.norm()).item()


def bound(name, fs, ft, **options):
    own = {"CRD": {"negatives": 16}, "SRD": {"exponent": 4.0}, "OFD": {"teacher_mode": "eval"}}
    options = own.get(name, {}) | options
    torch.manual_seed(0)
    term = ALL[name]([["f0", "f0"], ["f1", "f1"]], weight=1.0, **options)
    term.setup(output(fs), output(ft), torch.arange(50) % 10)
    if term.needs_trained_teacher:
        term.read_teacher(nn.Linear(ft[0].shape[1], 10))
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
        fs, ft = features(kind, scale)
        value, gradient = compared(bound(name, fs, ft), fs, ft)
        assert value < VALUE[name]
        assert gradient < GRADIENT[name]


@pytest.mark.parametrize("kind", ["alike", "behind a ReLU", "far from 0"])
@pytest.mark.parametrize("name", ["SP", "AT"])
def test_large_maps_too(name, kind):
    """One sum in float32 over all of a map was wrong by 2e-4 in `sp`, 2e-5 in `at`."""
    fs, ft = features(kind, 1.0, shape=(IMAGES, 256, 16, 16))
    value, gradient = compared(bound(name, fs, ft), fs, ft)
    assert max(value, gradient) < 1e-5


@pytest.mark.parametrize("name", ALL)
def test_bf16_features_give_the_value_of_the_same_numbers(name, monkeypatch):
    same_draws(monkeypatch)
    fs, ft = ([part.bfloat16() for part in side] for side in features("apart", 1.0))
    term = bound(name, fs, ft).eval()
    batch = Batch(torch.zeros(IMAGES, 1, 2, 2), torch.arange(IMAGES) % 10, torch.arange(IMAGES))
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(output(fs), output(ft), batch)
    wide = [output([part.double() for part in side]) for side in (fs, ft)]
    torch.manual_seed(1)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(term.double()(*wide, batch).item(), rel=VALUE[name])


@pytest.mark.parametrize("temperature", [0.02, 0.07, 1.0, 1e3, 1e6])
def test_the_temperature_of_crd_with_a_memory_that_has_learned(temperature, monkeypatch):
    """exp(1 / 0.02) is 5e21, and its square more than float32 holds."""
    same_draws(monkeypatch)
    fs, ft = features("apart", 1.0, shape=(IMAGES, 8))
    term = bound("CRD", fs, ft, temperature=temperature, dim=16)
    assert isinstance(term, CRD)
    batch = Batch(torch.zeros(IMAGES, 1, 2, 2), torch.arange(IMAGES) % 10, torch.arange(IMAGES))
    with torch.no_grad():
        for _ in range(8):
            term(output(fs), output(ft), batch)
    value, gradient = compared(term, fs, ft)
    assert max(value, gradient) < 1e-5


def test_pkt_distinguishes_images_that_are_nearly_alike():
    """Behind a ReLU all embeddings point nearly the same way: float32 was wrong by 70 %."""
    fs, ft = features("far from 0", 1.0, shape=(IMAGES, 32))
    value, gradient = compared(bound("PKT", fs, ft), fs, ft)
    assert max(value, gradient) < 1e-5


@pytest.mark.parametrize("exponent", [1.0, 4.0, 100.0])
def test_every_exponent_of_srd(exponent):
    fs, ft = features("apart", 1.0, shape=(IMAGES, 8))
    value, gradient = compared(bound("SRD", fs, ft, exponent=exponent), fs, ft)
    assert max(value, gradient) < 1e-4
