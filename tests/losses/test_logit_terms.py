"""Properties of every term that compares logits: all with ``standardize`` in their yaml."""

from functools import cache
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.common.types import Batch, Output
from kdsweep.errors import UserError

FILES = [
    path
    for path in sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
    if "standardize:" in path.read_text()
]
CROSS_ENTROPIES = {"soft_ce", "nkd"}  # not zero when the student equals the teacher
OTHER_TEMPERATURE = {"wttm"}  # of the teacher alone: not zero then, and without T^2
SUMS_OVER_THE_BATCH = {"mlkd"}  # compares all images with all
PARTLY_STANDARDISED = {"mlkd"}  # one of its levels
# Does not shrink when T grows, so that T^2 makes its gradient grow.
SCALE_FREE = {"dist", *OTHER_TEMPERATURE}


@cache
def options_of(path):
    """The options of the constructor, with T and alpha at the root."""
    config = OmegaConf.create({"T": 4.0, "alpha": 0.5, "loss": OmegaConf.load(path)})
    (options,) = OmegaConf.to_container(config.loss, resolve=True).values()
    del options["schedule"]
    return options


def temperature_of(path):
    """The name of the term's temperature, None if it has none."""
    return next((name for name in ("T", "tau") if name in options_of(path)), None)


def each_of(paths, without=()):
    kept = [path for path in paths if path.stem not in without]
    return pytest.mark.parametrize("path", kept, ids=lambda path: path.stem)


TEMPERED = [path for path in FILES if temperature_of(path)]
every_term, every_tempered_term = each_of(FILES), each_of(TEMPERED)


def build(path, **options):
    return instantiate_node({**options_of(path), **options}, f"loss.{path.stem}")


def value_of(term, student_logits, teacher_logits, labels):
    batch = Batch(torch.zeros(len(labels), 1, 2, 2), labels, torch.arange(len(labels)))
    return term(Output(student_logits, {}), Output(teacher_logits, {}), batch)


def gradient_of(term, student_logits, teacher_logits, labels):
    leaf = student_logits.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value_of(term, leaf, teacher_logits, labels), leaf)
    return gradient


@pytest.fixture
def logits(student, teacher, batch):
    """Student's and teacher's (4, 5), and the labels."""
    return student.logits, teacher.logits, batch.labels


def test_the_catalogue_is_found():
    known = {"kl", "soft_ce", "mse", "mse_probs", "dkd", "nkd", "dist", "mlkd"}
    assert {path.stem for path in FILES} >= known


@every_term
def test_the_gradient_is_that_of_the_value(path, logits):
    zs, zt, labels = logits
    zs = zs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: value_of(build(path), z, zt, labels), zs)


@every_term
@pytest.mark.parametrize("standardize", [False, True])
def test_no_gradient_for_the_teacher(path, logits, standardize):
    zs, zt, labels = (part.clone() for part in logits)
    zs.requires_grad_(), zt.requires_grad_()
    value_of(build(path, standardize=standardize), zs, zt, labels).backward()
    assert zs.grad.abs().sum() > 0
    assert zt.grad is None


@each_of(FILES, without=CROSS_ENTROPIES | OTHER_TEMPERATURE)
def test_zero_with_a_zero_gradient_when_the_student_equals_the_teacher(path, logits):
    """But for the 1e-8 in the denominator of DIST."""
    zs, _, labels = logits
    assert value_of(build(path), zs, zs, labels).item() == pytest.approx(0, abs=1e-4)
    assert gradient_of(build(path), zs, zs, labels).abs().max() < 1e-4


@every_term
def test_never_negative(path):
    generator = torch.Generator().manual_seed(0)
    zs, zt = torch.randn(2, 64, 10, generator=generator) * 5
    assert value_of(build(path), zs, zt, torch.arange(64) % 10) > 0


@each_of(TEMPERED, without=SCALE_FREE)
def test_t_squared_keeps_the_size_of_the_gradient(path, logits):
    """Without T^2 it would fall by 16 from T=16 to T=64."""
    name = temperature_of(path)
    near, far = (gradient_of(build(path, **{name: T}), *logits).norm() for T in (16.0, 64.0))
    assert far.item() == pytest.approx(near.item(), rel=0.1)


@every_tempered_term
def test_the_temperature_has_an_effect(path, logits):
    name = temperature_of(path)
    hot, cold = (value_of(build(path, **{name: T}), *logits) for T in (1.0, 4.0))
    assert hot.item() != pytest.approx(cold.item(), rel=1e-3)


@every_term
def test_the_order_of_the_images_does_not_matter(path, logits):
    order = torch.tensor([2, 0, 3, 1])
    shuffled = value_of(build(path), *(part[order] for part in logits))
    torch.testing.assert_close(shuffled, value_of(build(path), *logits))


@each_of(FILES, without=SUMS_OVER_THE_BATCH)
def test_it_is_a_mean_over_the_batch(path, logits):
    twice = value_of(build(path), *(torch.cat([part, part]) for part in logits))
    torch.testing.assert_close(twice, value_of(build(path), *logits), rtol=1e-5, atol=0)


@every_term
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_a_batch_of_one_image_is_finite(path, standardize, size):
    term = build(path, standardize=standardize)
    one = torch.tensor([[3.0, -1.0, 0.5]]) * size, torch.tensor([[-2.0, 1.0, 0.0]]) * size
    labels = torch.tensor([1])
    assert torch.isfinite(value_of(term, *one, labels))
    assert torch.isfinite(gradient_of(term, *one, labels)).all()


@every_term
@pytest.mark.parametrize("standardize", [False, True])
def test_extreme_logits_are_finite(path, standardize):
    """Far apart, of one sign, all equal, all zero: in float32, with labels right and wrong."""
    size = 1e4
    zs = torch.tensor([[size, -size, 0], [-size, size, 0], [size, size, size], [0, 0, 0]])
    zt = torch.tensor([[-size, size, 0], [-size, size, 0], [0, 0, -size], [size, 0, 0]])
    labels, term = torch.tensor([0, 1, 2, 0]), build(path, standardize=standardize)
    assert torch.isfinite(value_of(term, zs, zt, labels))
    assert torch.isfinite(gradient_of(term, zs, zt, labels)).all()


@every_term
def test_bf16_logits_are_compared_in_float32_whatever_autocast_is_on(path, logits):
    zs, zt, labels = logits
    zs, zt, term = zs.bfloat16(), zt.bfloat16(), build(path)
    expected = value_of(term, zs.float(), zt.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value_of(term, zs, zt, labels)
    for value in (inside, value_of(term, zs, zt, labels)):
        assert value.dtype == torch.float32
        assert value.item() == expected.item()


@each_of(FILES, without=PARTLY_STANDARDISED)
def test_standardised_it_ignores_offset_and_size_of_the_logits(path, logits):
    zs, zt, labels = logits
    term = build(path, standardize=True)
    other = value_of(term, 10 * zs - 7, 0.1 * zt + 3, labels)
    torch.testing.assert_close(other, value_of(term, zs, zt, labels), rtol=1e-5, atol=1e-7)
    assert value_of(build(path), zs, zt, labels).item() != pytest.approx(other.item())


@every_term
def test_negative_numbers_are_refused(path):
    """Other bad values are tested with the checks, in common/test_validation.py."""
    for name in set(options_of(path)) - {"_target_", "standardize", "factors", "weighted"}:
        with pytest.raises(UserError, match=f"loss.{path.stem}.{name} must be a .*got -1"):
            build(path, **{name: -1})


@every_tempered_term
def test_a_temperature_of_0_is_refused(path):
    name = temperature_of(path)
    with pytest.raises(UserError, match=f"{name} must be a number from 1e-6 to 1e6, got 0"):
        build(path, **{name: 0})


@every_term
def test_standardize_is_true_or_false(path):
    with pytest.raises(UserError, match="standardize must be true or false, got yes"):
        build(path, standardize="yes")
