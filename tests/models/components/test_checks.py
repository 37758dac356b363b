import pytest

from kdsweep.common.validation import shown
from kdsweep.models.components.checks import check_multiplier, check_task, check_units


@pytest.mark.parametrize("width", [0, -1, "wide", float("nan"), float("inf"), None, True])
def test_a_multiplier_is_a_finite_number_above_0(width):
    check_multiplier(0.1)
    with pytest.raises(
        ValueError, match=f"^width must be a finite number > 0, got {shown(width)}$"
    ):
        check_multiplier(width)


def test_a_multiplier_has_a_maximum():
    check_multiplier(64)
    with pytest.raises(
        ValueError, match=r"^width must be at most 64 times the published one, got 65"
    ):
        check_multiplier(65)


@pytest.mark.parametrize("count", [0, -1, 1.5, "wide", None, True])
def test_units_are_a_positive_integer(count):
    check_units(1)
    with pytest.raises(ValueError, match=f"^stem must be an integer > 0, got {shown(count)}$"):
        check_units(count, "stem")


@pytest.mark.parametrize("in_shape", [(3, 0, 32), (32, 32), (1, 1, 8, 8)])
def test_a_shape_is_channels_height_and_width(in_shape):
    with pytest.raises(
        ValueError, match=r"^in_shape must be .channels, height, width., all > 0, got"
    ):
        check_task(in_shape, 10)


def test_a_classifier_has_two_classes():
    check_task((1, 1, 1), 2)
    with pytest.raises(ValueError, match=r"^num_classes must be at least 2, got 1$"):
        check_task((1, 1, 1), 1)


def test_an_image_has_a_minimum_size():
    check_task((1, 8, 8), 2, "net", smallest=8)
    with pytest.raises(ValueError, match=r"^net needs images of at least 8 x 8, got 9 x 7$"):
        check_task((1, 9, 7), 2, "net", smallest=8)
