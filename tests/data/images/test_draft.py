"""JPEG files decoded at a fraction of their size (`dataset.source.draft`)."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.images.encoded import ImageFormat, decode
from kdsweep.data.images.files import ImageFiles

BILINEAR = Image.Resampling.BILINEAR
ORIENTATION = 0x0112


def photograph(height, width):
    """Smooth, as photographs are: JPEG keeps it, and the fractions of its size are alike."""
    rows, columns = np.mgrid[0:height, 0:width] / 40
    channels = np.sin(rows), np.cos(columns), np.sin(rows + columns)
    return Image.fromarray((127 + 120 * np.stack(channels, axis=2)).astype(np.uint8))


def decoded(path, height, width, *, draft=True, crop=True):
    form = ImageFormat(3, height, width, crop, draft=draft)
    return decode(ImageFiles(path.parent, [path]), 0, form)


@pytest.mark.parametrize(
    ("least", "fraction"),
    [((61, 81), 1), ((60, 80), 2), ((31, 40), 2), ((30, 40), 4), ((15, 20), 8), ((4, 4), 8)],
)
def test_smallest_fraction_that_covers_the_size_is_decoded(tmp_path, least, fraction):
    path = tmp_path / "a.jpg"
    photograph(120, 160).save(path, quality=90)
    with Image.open(path) as file:
        file.draft("RGB", (160 // fraction, 120 // fraction))
        assert file.size == (160 // fraction, 120 // fraction)
        expected = np.asarray(ImageOps.fit(file, least[::-1], BILINEAR))
    got = decoded(path, *least)
    assert np.array_equal(got.pixels, expected.transpose(2, 0, 1))
    assert got.header.size == (120, 160)


def test_turned_image_is_covered_in_its_own_directions(tmp_path):
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[ORIENTATION] = 6  # stored as 160 wide, shown as 120 wide
    photograph(120, 160).save(path, quality=90, exif=exif.tobytes())
    with Image.open(path) as file:
        file.draft("RGB", (80, 60))
        upright = file.transpose(Image.Transpose.ROTATE_270).resize((20, 80), BILINEAR)
    got = decoded(path, 80, 20, crop=False)
    assert np.array_equal(got.pixels, np.asarray(upright).transpose(2, 0, 1))
    assert got.header.size == (160, 120)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_other_formats_are_decoded_whole(tmp_path, name):
    path = tmp_path / name
    photograph(120, 160).save(path)
    whole = decoded(path, 30, 40, draft=False)
    assert np.array_equal(decoded(path, 30, 40).pixels, whole.pixels)


def test_pixels_are_nearly_those_of_the_whole_image(tmp_path):
    path = tmp_path / "a.jpg"
    photograph(240, 320).save(path, quality=95)
    whole, reduced = (decoded(path, 50, 50, draft=draft).pixels for draft in (False, True))
    difference = np.abs(whole.astype(int) - reduced)
    assert 0 < difference.mean() < 2


def folder_of(tmp_path):
    for number, part in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (tmp_path / part).mkdir(parents=True)
        for image in range(3):
            size = 60 + 10 * number, 90 + 7 * image
            photograph(*size).save(tmp_path / part / f"{image}.jpg")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_bits_do_not_depend_on_where_images_are_decoded(tmp_path, workers):
    root, index = folder_of(tmp_path), torch.tensor([5, 0, 3, 2])
    options = {"image_size": 16, "crop": True, "draft": True}
    in_memory = ImageFolder(str(root), **options).load().train.images
    stored = ImageFolder(str(root), **options, memory_gib=1e-9, workers=workers).load()
    (pixels,) = stored.train.images.read([index])
    assert torch.equal(pixels, in_memory[index])
    assert torch.equal(stored.train.images[index], in_memory[index])


def test_value_is_checked(tmp_path):
    with pytest.raises(ValueError, match=r"^dataset\.source\.draft must be true or false, got 2$"):
        ImageFolder(str(tmp_path), draft=2)
