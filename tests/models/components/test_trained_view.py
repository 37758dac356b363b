"""What images weights were trained with, and how those of a run differ."""

import pytest
from torch import nn

from kdsweep.models.components.trained_view import View, set_trained_view, view_difference

TRAINED = View((224, 224), "bicubic", 0.875)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (TRAINED, None),
        (TRAINED._replace(crop_pct=0.877), None),
        (View(), None),
        (
            TRAINED._replace(crop_pct=1.0),
            "its weights were trained with crop_pct=0.875, got crop_pct=1",
        ),
        (
            View((128, 96), "bilinear"),
            "its weights were trained with image_size=224 interpolation=bicubic, got"
            " image_size=[128,96] interpolation=bilinear",
        ),
    ],
)
def test_what_differs_is_named(given: View, line: str | None) -> None:
    model = nn.Linear(1, 1)
    assert view_difference(model, given) is None
    set_trained_view(model, TRAINED)
    assert view_difference(model, given) == line
