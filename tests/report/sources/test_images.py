"""Single test images, and the sheet that shows them."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from commands import Compose
from distilled_data import DATA, TRUE, load_data
from matplotlib.image import imread
from PIL import Image

from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import to_values
from kdsweep.data.images.lazy import StoredImages
from kdsweep.errors import UserError
from kdsweep.report.sections.prediction_flips import MOST_SHOWN
from kdsweep.report.sources.images import SheetImage, contact_sheet, load_dataset, pixels_of


def test_captions_have_the_class_and_both_predictions() -> None:
    pixels = np.zeros((1, 8, 8), np.uint8)
    assert SheetImage(pixels, "3", "8", "3").caption == "3: 8 → 3"
    assert SheetImage(pixels, "automobile", "truck", "automobile").caption == (
        "automobile:\ntruck → automobile"
    )
    long = SheetImage(pixels, "Staffordshire bullterrier", "a", "b").caption
    assert long.startswith("Staffordshire b…:")


@pytest.mark.ci
@pytest.mark.parametrize(
    ("side", "channels"), [(8, 1), pytest.param(224, 3, marks=pytest.mark.slow)]
)
def test_the_sheet_holds_images_of_any_size(side: int, channels: int, tmp_path: Path) -> None:
    one = SheetImage(np.full((channels, side, side), 255, np.uint8), "cat", "dog", "cat")
    contact_sheet([("Fixed\ncats", [one] * MOST_SHOWN), ("Broken: none\n", [])], tmp_path / "s.png")
    sheet = imread(tmp_path / "s.png")[..., :3]  # in [0, 1]
    assert sheet.shape[0] > 300
    assert sheet.min() < 0.4  # the captions


def test_other_data_than_the_run_saw_is_refused() -> None:
    with pytest.raises(UserError, match="no longer"):
        pixels_of(DATA, np.array(TRUE[::-1]), [0], load_data)
    assert pixels_of(DATA, np.array(TRUE), [3, 1], load_data)[:, 0, 0, 0].tolist() == [90, 30]


def test_of_images_in_files_only_those_that_are_shown_are_decoded(
    compose: Compose, tmp_path: Path
) -> None:
    for part, name, place in product(("train", "test"), ("cat", "dog"), range(20)):
        folder = tmp_path / part / name
        folder.mkdir(parents=True, exist_ok=True)
        shade = 100 * (name == "dog") + 2 * place + (part == "test")
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(folder / f"{place:02}.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", "loss=ce"]
    config = to_values(resolve_config(compose(*words)))
    assert isinstance(load_dataset(config).test.images, StoredImages)
    labels = np.repeat([0, 1], 20)
    assert pixels_of(config, labels, [3, 21])[:, 0, 0, 0].tolist() == [7, 103]
    (tmp_path / "test" / "dog" / "19.png").unlink()
    with pytest.raises(UserError, match="no longer"):
        pixels_of(config, labels, [3, 21])


def test_a_root_that_is_gone_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not here"):
        load_dataset({"dataset": {"root": str(tmp_path / "gone"), "source": {}}})
