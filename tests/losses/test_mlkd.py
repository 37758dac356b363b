import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kdsweep.common.types import Batch, Output
from kdsweep.losses.base import soft_targets
from kdsweep.losses.kl import kl_divergence
from kdsweep.losses.mlkd import MLKD, levels

FACTORS, STRONG = [0.5, 0.75, 1.0, 1.25, 1.5], [0.75, 1.0, 1.25]
DIRECTION = torch.cos(torch.arange(100, dtype=torch.float64))


def waves(images, classes, speed):
    """Logits by formula: the repositories' own code has produced the golden values from them."""
    i = torch.arange(images, dtype=torch.float64)[:, None]
    j = torch.arange(classes, dtype=torch.float64)
    return 3 * torch.sin(speed * (i * classes + j + 1) + i)


def batch_of(images):
    return Batch(torch.zeros(images, 1), torch.zeros(images).long(), torch.arange(images))


def value_and_slope(term, images, classes):
    """The value, and its derivative in a direction given by a formula."""
    student, teacher = waves(images, classes, 1.3).requires_grad_(), waves(images, classes, 0.7)
    value = term(Output(student, {}), Output(teacher, {}), batch_of(images))
    (gradient,) = torch.autograd.grad(value, student)
    return value.item(), slope(gradient)


def slope(gradient):
    return (gradient.flatten() * DIRECTION[: gradient.numel()]).sum().item()


@pytest.mark.parametrize(
    ("images", "classes", "expected"),
    [
        (4, 6, (24.332174867066122, 5.063637008649155)),
        (6, 4, (25.311999888013165, 1.6592546834196273)),
        (5, 7, (26.6455898586045, 2.587803160927482)),
    ],
)
def test_golden_value_and_gradient_of_the_authors_code(images, classes, expected):
    """Jin-Ying/Multi-Level-Logit-Distillation, mdistiller/distillers/KD_ours.py, its two views
    equal and the weight of 0.9 divided out."""
    found = value_and_slope(MLKD(T=4, factors=FACTORS, weight=0.9), images, classes)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("images", "classes", "expected"),
    [
        (4, 6, (5.1402159874978075, 0.24635451025059799)),
        (6, 4, (6.171289831673505, 0.2368576521925479)),
    ],
)
def test_golden_value_and_gradient_with_standardised_logits(images, classes, expected):
    """sunshangquan/logit-standardization-KD, mdistiller/distillers/MLKD.py with --logit-stand
    --base-temp 2: the base replaces one of its five temperatures."""
    term = MLKD(T=2, factors=[1, 1.5, 2.5, 1, 3], weight=9, standardize=True)
    assert value_and_slope(term, images, classes) == pytest.approx(expected, rel=1e-12)


AUTHORS = MLKD(T=4, factors=FACTORS, weight=0.9, strong_factors=STRONG)
STANDARDIZED = MLKD(
    T=2, factors=[1, 1.5, 2.5, 1, 3], weight=9, standardize=True, strong_factors=[1, 1.5, 2.5]
)


@pytest.mark.parametrize(
    ("term", "images", "classes", "expected"),
    [
        (AUTHORS, 4, 6, (30.85565571115955, 2.993800290781865, 3.993839145123455)),
        (AUTHORS, 5, 7, (28.081142795688994, 1.6005898992634984, 2.5571551593280546)),
        (STANDARDIZED, 6, 4, (6.947564226243563, 0.17868685522907068, -0.14993088580081135)),
    ],
)
def test_golden_value_and_gradients_of_two_views(term, images, classes, expected):
    """Of both repositories; gradients for the weak and the strong view."""
    student, strong = (waves(images, classes, speed).requires_grad_() for speed in (1.3, 0.9))
    teacher, of_strong = (waves(images, classes, speed) for speed in (0.7, 1.1))
    value = term(
        Output(student, {}, strong=Output(strong, {})),
        Output(teacher, {}, strong=Output(of_strong, {})),
        batch_of(images),
    )
    found = value.item(), *map(slope, torch.autograd.grad(value, [student, strong]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_two_equal_views_are_one(student, teacher, batch):
    value = AUTHORS(student._replace(strong=student), teacher._replace(strong=teacher), batch)
    torch.testing.assert_close(value, AUTHORS(student, teacher, batch))


@pytest.mark.parametrize(("images", "classes"), [(7, 3), (3, 7), (4, 4)])
def test_more_images_than_classes_and_fewer(images, classes):
    q, p = (waves(images, classes, speed).div(1.5).softmax(1) for speed in (1.3, 0.7))
    _, batch, by_class = levels(waves(images, classes, 1.3), waves(images, classes, 0.7), 1.5)
    torch.testing.assert_close(batch, (q @ q.T - p @ p.T).square().sum() / images)
    torch.testing.assert_close(by_class, (q.T @ q - p.T @ p).square().sum() / classes)


def test_a_temperature_costs_one_comparison_and_no_matrix_of_classes(monkeypatch):
    """4 images of 1000 classes: C x C would be a million numbers."""
    sizes, original = [], soft_targets.kl_gap_and_target

    def counted(target, shift):
        sizes.append(target.shape)
        return original(target, shift)

    monkeypatch.setattr(soft_targets, "kl_gap_and_target", counted)
    logits = torch.randn(2, 4, 1000, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        levels(*logits, 1.0)
    assert sizes == [(4, 1000)]
    assert counter.get_total_flops() <= 3 * 2 * 4 * 1000 * 4


def test_the_levels_beyond_the_single_image_see_relations(teacher):
    """Two images that swap their predictions: as likely alike as before, but not image by image."""
    swapped = teacher.logits[[1, 0, 3, 2]]
    instance, batch, by_class = levels(swapped, teacher.logits, 2.0)
    torch.testing.assert_close(instance, kl_divergence(swapped, teacher.logits, 2.0))
    q, p = (z.div(2).softmax(1) for z in (swapped, teacher.logits))
    torch.testing.assert_close(batch, (q @ q.T - p @ p.T).square().sum() / 4)
    assert by_class.item() == pytest.approx(0, abs=1e-12)


def test_one_factor_is_one_temperature(student, teacher, batch):
    """4 images and 5 classes: masks with a mean of 2/4 and 3/5."""
    value = MLKD(T=3, factors=[1], weight=1.0)(student, teacher, batch)
    instance, of_images, of_classes = levels(student.logits, teacher.logits, 3.0)
    torch.testing.assert_close(value, 1.5 * instance + 0.5 * of_images + 0.6 * of_classes)


@pytest.mark.parametrize("factors", [[], None, 1.0, "1", [0], [-1], ["a"], [True], [float("nan")]])
def test_bad_factors_are_refused(factors):
    with pytest.raises(ValueError, match="factors must be"):
        MLKD(T=4, factors=factors, weight=1.0)


@pytest.mark.parametrize("strong", [[2], [1, 1, 1], [0.5, 1.0]])
def test_strong_factors_are_some_of_the_factors(strong):
    message = "strong_factors must be null or some of factors \\[1.0, 1.0, 1.5\\], got "
    with pytest.raises(ValueError, match=message):
        MLKD(T=4, factors=[1, 1, 1.5], weight=1.0, strong_factors=strong)
