"""The same pixels and numbers as a data set of the same files has."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.pipeline.split import Dataset, SplitOptions, load_dataset
from kdsweep.data.pipeline.stream import evaluation_batches
from kdsweep.deploy.images import ImageError
from kdsweep.deploy.preprocessing import Preprocessing

GENERATOR = np.random.default_rng(0)
RGB = GENERATOR.integers(0, 256, (31, 47, 3), dtype=np.uint8)
DEEP = GENERATOR.integers(0, 65536, (31, 47), dtype=np.uint16)


def turned(orientation: int) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif.tobytes()}


def write_every_mode(folder: Path) -> int:
    """Images of the modes and formats that are common; how many there are."""
    folder.mkdir(parents=True)
    image = Image.fromarray(RGB)
    palette = image.quantize(16)
    image.save(folder / "rgb.png")
    image.save(folder / "rgb.jpg", quality=90)
    image.save(folder / "rgb.webp", lossless=True)
    image.convert("L").save(folder / "grey.png")
    image.convert("LA").save(folder / "grey_alpha.png")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    image.convert("1").save(folder / "bits.png")
    palette.save(folder / "palette.png", transparency=3)
    palette.save(folder / "animated.gif", save_all=True, append_images=[palette.rotate(90)])
    Image.fromarray(DEEP).save(folder / "deep.png")
    Image.fromarray((DEEP / 65535).astype(np.float32)).save(folder / "float.tiff")
    for orientation in range(1, 9):
        image.save(folder / f"turned{orientation}.jpg", quality=90, **turned(orientation))
    return len(list(folder.iterdir()))


def loaded(root: Path, **options: object) -> Dataset:
    source = ImageFolder(str(root), **options)
    return load_dataset(source, SplitOptions("image_folder", val_fraction=0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose test set has every mode."""
    root = tmp_path_factory.mktemp("modes")
    for name in ("cat", "dog"):
        write_every_mode(root / "train" / name)
        write_every_mode(root / "test" / name)
    return root


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": [20, 28], "crop": True},
        {"image_size": 64},
        {"image_size": [40, 24], "channels": 1, "crop": True},
        {"image_size": 24, "memory_gib": 1e-9, "workers": 0},
        {"image_size": 24, "crop": True, "interpolation": "bicubic"},
        {"image_size": 8, "crop": True, "draft": True},
    ],
)
def test_it_prepares_files_as_evaluation_in_training_does(root: Path, options: dict) -> None:
    dataset = loaded(root, **options)
    preprocessing = Preprocessing.of(dataset)
    files = sorted((root / "test" / "cat").iterdir())
    (batch,) = evaluation_batches(
        dataset.test, batch_size=len(dataset.test.labels), mean=dataset.mean, std=dataset.std
    )
    for file, expected in zip(files, batch.images, strict=False):
        assert torch.equal(preprocessing(file), expected), file
        assert torch.equal(preprocessing(str(file)), expected)
        assert torch.equal(preprocessing(file.read_bytes()), expected)
        assert torch.equal(preprocessing(io.BytesIO(file.read_bytes())), expected)
        with Image.open(file) as image:
            assert torch.equal(preprocessing(image), expected)


@pytest.mark.parametrize("size", [None, 16, [10, 12]])
@pytest.mark.parametrize(
    "shown", [{}, {"image_size": 24}, {"image_size": [24, 20], "crop_pct": 0.6}]
)
def test_a_view_and_a_size_of_the_network(root: Path, shown: dict, size: object) -> None:
    """What a network of another size is given in evaluation, which resizes it itself."""
    source = ImageFolder(str(root), image_size=[28, 32], crop=True)
    dataset = load_dataset(source, SplitOptions("image_folder", val_fraction=0, **shown))
    preprocessing = Preprocessing.of(dataset, size)
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing
    files = sorted((root / "test" / "cat").iterdir())
    count = len(dataset.test.labels)
    (batch,) = evaluation_batches(
        dataset.test, batch_size=count, mean=dataset.mean, std=dataset.std, view=dataset.view
    )
    given = preprocessing.resize(batch.images)
    assert given.shape[1:] == preprocessing.in_shape
    assert preprocessing.pixel_shape == dataset.image_shape
    assert preprocessing.of_network(None) == Preprocessing.of(dataset)
    assert preprocessing.of_network(14) == Preprocessing.of(dataset, 14)
    for file, expected in zip(files, given, strict=False):
        assert torch.equal(preprocessing(file), expected), file


def test_white_is_that_of_the_data_set(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog", "cat", "dog")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(DEEP // 16 // (1 + number)).save(tmp_path / name / f"{number}.png")
    source = ImageFolder(str(tmp_path), image_size=24, white=4095)
    options = SplitOptions("image_folder", val_fraction=0, test_fraction=0.5)
    dataset = load_dataset(source, options)
    preprocessing = Preprocessing.of(dataset)
    assert preprocessing.white == 4095
    files = [path for name in ("cat", "dog") for path in sorted((tmp_path / name).iterdir())]
    for row, pixels in zip(dataset.test_index.tolist(), dataset.test.images, strict=True):
        assert torch.equal(preprocessing.pixels(files[row]), pixels)


def test_an_image_in_memory_is_prepared_as_its_file(tmp_path: Path) -> None:
    preprocessing = Preprocessing(3, (20, 28), (0.5,) * 3, (0.25,) * 3, crop=True)
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    expected = preprocessing(tmp_path / "rgb.png")
    tensor = torch.tensor(RGB).permute(2, 0, 1)
    for same in (RGB, RGB / 255, RGB.astype(np.int64), tensor, tensor / 255, tensor.int()):
        assert torch.equal(preprocessing(same), expected)
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    assert torch.equal(preprocessing(DEEP), preprocessing(tmp_path / "deep.png"))
    grey = RGB[..., 0]
    for same in (grey[..., None], torch.tensor(grey), torch.tensor(grey)[None], grey / 255):
        assert torch.equal(preprocessing(same), preprocessing(grey))


def test_alpha_is_dropped() -> None:
    preprocessing = Preprocessing(3, (31, 47), (0.0,) * 3, (1.0,) * 3)
    alpha = GENERATOR.integers(0, 256, (31, 47, 1), dtype=np.uint8)
    assert torch.equal(preprocessing(np.concatenate([RGB, alpha], 2)), preprocessing(RGB))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("absent.png", "absent.png: No such file or directory"),
        ("/dev/zero", "not a regular file"),
        (b"no image", "bytes: it is not an image of a supported format"),
        (RGB / 100, "floating-point values must be in \\[0, 1\\], got 0 to 2.55"),
        (RGB.astype(int) + 1, "0 to 255 is allowed, got 1 to 256"),
        (np.zeros((3, 20, 20), np.uint8), r"\(H, W\) or \(H, W, channels\)"),
        (np.array([[np.nan]]), "floating-point values"),
        (np.zeros((0, 3)), "an array must be"),
        (np.zeros((2, 2), complex), "an array must hold numbers, got complex128"),
        (torch.zeros(20, 20, 3), r"a tensor must be \(channels, H, W\), got \(20, 20, 3\)"),
        (12, "an image must be a path, bytes, .* got int"),
    ],
)
def test_what_is_no_image_is_refused_by_name(image: object, reason: str) -> None:
    preprocessing = Preprocessing(1, (4, 4), (0.5,), (0.5,))
    with pytest.raises(ImageError, match=reason):
        preprocessing(image)  # type: ignore[arg-type]


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    """A file of some bytes, of 60,000 x 60,000 pixels."""
    with pytest.raises(ImageError, match="decompression bomb"):
        Preprocessing(1, (4, 4), (0.5,), (0.5,))(b"P5\n60000 60000\n255\n")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "whole.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "whole.png").read_bytes()[:800])
    with pytest.raises(ImageError, match=r"cut\.png") as caught:
        Preprocessing(1, (4, 4), (0.5,), (0.5,))(cut)
    assert caught.value.name == str(cut)


def test_it_is_the_same_after_json() -> None:
    preprocessing = Preprocessing(3, (6, 8), (0.1, 0.2, 1 / 3), (0.5,) * 3, crop=True, white=4095)
    content = json.loads(json.dumps(preprocessing.to_json()))
    assert Preprocessing.from_json(content) == preprocessing
    assert preprocessing.in_shape == (3, 6, 8)


@pytest.mark.parametrize(
    "changed",
    [{"interpolation": "nearest"}, {"antialias": False}, {"channels": 4}, {"mean": [0.5]}],
)
def test_what_it_cannot_compute_is_refused(changed: dict) -> None:
    content = Preprocessing(3, (6, 8), (0.5,) * 3, (0.5,) * 3).to_json()
    with pytest.raises(ValueError, match=r"^preprocessing\.\w+ must be"):
        Preprocessing.from_json({**content, **changed})


def test_draft_leaves_an_image_in_memory_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
        tmp_path / "large.jpg"
    )
    preprocessing = Preprocessing(3, (8, 8), (0.5,) * 3, (0.2,) * 3, draft=True)
    with Image.open(tmp_path / "large.jpg") as image:
        found = preprocessing.pixels(image)
        assert image.size == (64, 64)
        assert torch.equal(found, preprocessing.pixels(tmp_path / "large.jpg"))
        whole = replace(preprocessing, draft=False)
        assert not torch.equal(found, whole.pixels(image))
        assert torch.equal(preprocessing.pixels(image), whole.pixels(image)), "it is decoded by now"


@pytest.mark.parametrize("draft", [False, True])
def test_draft_is_written_where_it_is_on(draft: bool) -> None:
    """Versions without it read what was written without it."""
    preprocessing = Preprocessing(3, (8, 8), (0.5,) * 3, (0.2,) * 3, draft=draft)
    assert ("draft" in preprocessing.to_json()) == draft
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing
