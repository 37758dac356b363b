"""Every mode in every format that Pillow writes: read by its rule, or refused by name."""

import io
import warnings
import zlib
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from kdsweep.common.validation import shown
from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.images.encoded import ImageFormat, UnreadableImage, decode, read_header
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.images.formats import EXCLUDED, image_endings, image_formats

Image.init()
RAMP = np.arange(0, 240, 8, dtype=np.uint8).reshape(6, 5)
MODES = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "F"),
    *("I;16", "I;16L", "I;16B"),
)
NOT_BACK = {"PALM", "PDF"}  # Pillow writes these and does not read them
CUT_WHEN_WRITTEN = {"GIF", "WEBP", "AVIF"}  # their writers cut deep values before we see them
# How far a value of 0 to 255 may be off where a format loses something, or resizes (icons).
LOSSY = {"AVIF": 3, "ICNS": 8, "JPEG": 24, "MPO": 24, "WEBP": 8, "GIF": 4}
UNKNOWN = "cannot identify image file"
NO_WHITE = "32-bit integers, of which dataset.source.white must say which value is white"
TOO_BRIGHT = "where 0 is black and 1 is white (dataset.source.white is the value that is white)"


def made(mode):
    """The ramp in a mode of Pillow's; deep ones in their full range."""
    grey = Image.fromarray(RAMP)
    deep = RAMP.astype(np.uint16) * 257
    if mode.startswith("I;16"):
        order = ">u2" if mode == "I;16B" else "<u2"
        return Image.frombytes(mode, grey.size, deep.astype(order).tobytes())
    if mode == "I":
        return Image.fromarray(deep.astype(np.int32))
    if mode == "F":
        return Image.fromarray((RAMP / 255).astype(np.float32))
    if mode == "LAB":
        return Image.new("LAB", grey.size, (128, 128, 128))
    if mode == "PA":
        return grey.convert("P").convert("PA")
    return grey.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else grey.convert(mode)


def written(image, name, **options):
    """The bytes of a file; None where Pillow does not write this mode in this format."""
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.save(content, name, **options)
    except (OSError, KeyError, ValueError, RuntimeError):
        return None
    return content.getvalue()


def read(folder, content, *, white=None, channels=3, size=(6, 5)):
    """The pixels of one file, and its name."""
    path = folder / "image.any"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as where whole data sets are read
        return decode(
            ImageFiles(folder, [path]), 0, ImageFormat(channels, *size, white=white)
        ).pixels


def refusal(mode, name):
    """Why a file is not read, None for all that are."""
    if name in EXCLUDED | NOT_BACK:
        return UNKNOWN
    if name == "SPIDER" and mode != "F":  # holds floating-point numbers, here up to 232 or more
        return TOO_BRIGHT
    return NO_WHITE if mode == "I" and name != "PPM" else None  # a PGM file contains its white


def upright_values(mode):
    """What each channel of the file should be read as."""
    if mode == "1":
        return np.asarray(made("1").convert("L"))
    if mode == "LAB":  # through Pillow's ImageCms
        return np.asarray(made("LAB").convert("RGB"))[..., 0]
    return RAMP


CASES = [
    (mode, name)
    for mode, name in product(MODES, sorted(Image.SAVE))
    if not (name in CUT_WHEN_WRITTEN and mode in ("I", "F", "LAB", "I;16", "I;16L", "I;16B"))
    and not (name == "ICNS" and mode in ("1", "I;16", "I;16B"))  # its writer resizes these, badly
    and written(made(mode), name) is not None
]


def test_the_cases_are_all_that_pillow_writes():
    assert len(CASES) > 100
    assert {name for _, name in CASES} >= {"TIFF", "PNG", "JPEG", "PPM", "BMP", "IM", "WEBP", "GIF"}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read_by_its_rule_or_refused_by_name(tmp_path, mode):
    for _, name in (case for case in CASES if case[0] == mode):
        content = written(made(mode), name)
        if (reason := refusal(mode, name)) is not None:
            with pytest.raises(UnreadableImage) as refused:
                read(tmp_path, content)
            assert reason in str(refused.value), (mode, name)
            assert str(tmp_path / "image.any") in str(refused.value), (mode, name)
            continue
        off = np.abs(read(tmp_path, content).astype(int) - upright_values(mode)).max()
        assert off <= LOSSY.get(name, 1 if mode == "YCbCr" else 0), (mode, name)


@pytest.mark.parametrize(
    ("mode", "white", "factor"),
    [("I", 65535, 257), ("I", 4095, 16), ("F", 255, 1), ("I;16", 4095, 16), ("I;16B", 255, 1)],
)
def test_white_becomes_255(tmp_path, mode, white, factor):
    values = RAMP.astype(np.float64) * factor
    image = made(mode)
    kind = {"I": np.int32, "F": np.float32}.get(mode, ">u2" if mode == "I;16B" else "<u2")
    image.frombytes(values.astype(kind).tobytes())
    got = read(tmp_path, written(image, "TIFF"), white=white)[0]
    assert np.array_equal(got, np.rint(values * 255 / white))


@pytest.mark.parametrize("values", [(-1.0, 0.5), (0.0, 1.01), (0.0, np.nan), (np.inf, 0.0)])
def test_floating_point_values_that_are_no_brightness_are_refused(tmp_path, values):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    with pytest.raises(UnreadableImage, match=r"where 0 is black and 1 is white"):
        read(tmp_path, written(image, "TIFF"), size=(1, 2))


def test_twelve_bits_of_a_tiff_file_are_scaled_by_their_own_white(tmp_path):
    packed = bytes([0xFF, 0xF0, 0x00])  # 4095 and 0, in 12 bits each
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    entries = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 3}
    for tag, value in entries.items():
        tags[tag] = value
    content = b"II*\0" + (8).to_bytes(4, "little") + tags.tobytes(8)
    got = read(tmp_path, content + packed, size=(1, 2))[0]
    assert got.tolist() == [[255, 0]]


def png_of_16_bits(values):
    """A PNG of 16 bits a channel, which Pillow does not write: colour (H, W, 3) or LA (H, W, 2)."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, content):
        crc = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + crc

    header = (
        width.to_bytes(4, "big")
        + height.to_bytes(4, "big")
        + bytes([16, {2: 4, 3: 2}[channels], 0, 0, 0])
    )
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def colour(scale):
    return np.repeat(RAMP[..., None], 3, axis=2).astype(np.uint16) * scale


def test_colour_of_16_bits_keeps_its_upper_8(tmp_path):
    got = read(tmp_path, png_of_16_bits(colour(257)))
    assert np.array_equal(got, np.broadcast_to(RAMP, (3, 6, 5)))
    with pytest.raises(UnreadableImage, match="only its upper 8 bits are read"):
        read(tmp_path, png_of_16_bits(colour(16)), white=4095)


def grey_of_16_bits(scale):
    return written(Image.fromarray(RAMP.astype(np.uint16) * scale), "PNG")


@pytest.fixture
def folder(tmp_path):
    """Two classes of grey images in 8 bits."""
    for name in ("cat", "dog"):
        for part in ("train", "test"):
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "00.png").write_bytes(written(Image.fromarray(RAMP), "PNG"))
    return tmp_path


@pytest.mark.parametrize("memory_gib", [4, 1e-9])
@pytest.mark.parametrize(
    "dark", [grey_of_16_bits(16), png_of_16_bits(colour(16))], ids=["grey", "colour"]
)
def test_values_of_12_bits_in_16_are_never_read_as_black(folder, memory_gib, dark):
    (folder / "train" / "cat" / "dark.png").write_bytes(dark)
    with pytest.raises(ValueError, match=r"^dataset\.source\.white must ") as refused:
        ImageFolder(str(folder), memory_gib=memory_gib, workers=0).load()
    assert str(folder / "train" / "cat" / "dark.png") in str(refused.value)


@pytest.mark.parametrize("memory_gib", [4, 1e-9])
def test_a_dark_image_of_16_bits_is_read_in_a_set_with_bright_ones(folder, memory_gib):
    (folder / "train" / "cat" / "01.png").write_bytes(grey_of_16_bits(16))
    (folder / "train" / "cat" / "02.png").write_bytes(grey_of_16_bits(257))
    images = ImageFolder(str(folder), memory_gib=memory_gib, workers=0).load().train.images
    dark, bright = images[torch.tensor([1, 2])]
    assert np.array_equal(bright[0].numpy(), RAMP)
    assert np.array_equal(dark[0].numpy(), np.rint(RAMP * (16 * 255 / 65535)))


def test_white_makes_12_bits_in_16_bright(folder):
    (folder / "train" / "cat" / "01.png").write_bytes(grey_of_16_bits(16))
    images = ImageFolder(str(folder), white=4095).load().train.images
    assert np.array_equal(images[1][0].numpy(), np.rint(RAMP * (16 * 255 / 4095)))


def deep(kind, largest):
    """A grey image whose largest value is given, in 16 bits (PNG) or floating point (TIFF)."""
    values = RAMP * (largest / RAMP.max())
    return written(Image.fromarray(values.astype(kind)), "PNG" if kind == np.uint16 else "TIFF")


def only_deep(folder, content):
    """A set whose images are all the same."""
    for path in sorted(folder.rglob("*.png")):
        path.write_bytes(content)


@pytest.mark.parametrize("memory_gib", [4, 1e-9])
@pytest.mark.parametrize(
    ("content", "white", "ways_out"),
    [
        (deep(np.uint16, 65535), 1e9, "(at most 262140, or 65535 to take them as they are)"),
        (deep(np.float32, 1), 255, "(at most 4, or 1 to take them as they are)"),
        (deep(np.float32, 0.003), None, "(at most 0.012, or 1 to take them as they are)"),
        (deep(np.int32, 1000), 2**31, "(at most 4000)"),
        (png_of_16_bits(colour(16)), None, "(65535 to take them as they are)"),
    ],
    ids=["16 bits", "float", "dark float", "32 bits", "colour"],
)
def test_a_set_that_would_be_almost_black_is_refused_with_the_ways_out(
    folder, memory_gib, content, white, ways_out
):
    only_deep(folder, content)
    with pytest.raises(ValueError, match=r"^dataset\.source\.white must ") as refused:
        ImageFolder(str(folder), memory_gib=memory_gib, workers=0, white=white).load()
    assert ways_out in str(refused.value)
    assert f"got {shown(white)} with 4 such images" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "white"),
    [
        (deep(np.float32, 0.003), 0.012),
        (deep(np.float32, 0.003), 1),
        (deep(np.int32, 1000), 4000),
        (deep(np.uint16, 900), 4095),
        (deep(np.uint16, 900), 65535),
        (png_of_16_bits(colour(16)), 65535),
        (deep(np.uint16, 0), None),
    ],
)
def test_a_set_that_is_meant_to_be_dark_is_read(folder, content, white):
    only_deep(folder, content)
    ImageFolder(str(folder), white=white).load()


def test_grey_and_alpha_of_16_bits_is_grey(folder):
    values = np.stack([RAMP.astype(np.uint16) * 257, np.full(RAMP.shape, 65535)], axis=2)
    only_deep(folder, png_of_16_bits(values))
    images = ImageFolder(str(folder), channels=None).load().train.images
    assert images.shape[1] == 1
    assert np.array_equal(images[0, 0].numpy(), RAMP)


def test_white_must_be_a_number():
    with pytest.raises(ValueError, match=r"^dataset\.source\.white must be a finite number > 0"):
        ImageFolder(".", white=-1)


TURNED = {  # orientation in EXIF: the transposition that makes the stored rows upright
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.transpose(a), 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_images_are_turned_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((16, 24), dtype=np.uint8)
    stored[:8, :12], stored[:8, 12:], stored[8:, :12] = 240, 160, 80
    content = written(Image.fromarray(stored).convert("RGB"), name, exif=exif)
    upright = TURNED[orientation](stored)
    path = tmp_path / "image.any"
    path.write_bytes(content)
    images = ImageFiles(tmp_path, [path])
    assert read_header(images, 0).size == upright.shape
    got = decode(images, 0, ImageFormat(1, *upright.shape)).pixels[0]
    assert np.abs(got.astype(int) - upright)[2:-2, 2:-2].mean() < 12


def test_a_damaged_exif_block_leaves_an_image_as_it_lies(tmp_path):
    content = written(Image.fromarray(RAMP), "JPEG", exif=b"Exif\0\0nothing of the kind")
    assert np.abs(read(tmp_path, content)[0].astype(int) - RAMP).max() <= 6


def test_endings_are_those_of_what_is_read():
    assert {".jfif", ".jpe", ".jpg", ".mpo", ".png", ".tif", ".webp"} <= image_endings()
    assert not {".eps", ".h5", ".pdf", ".txt", ".wmf"} & image_endings()
    assert not EXCLUDED & {*image_formats()}


def test_a_program_that_is_named_as_an_image_is_not_run(tmp_path):
    content = written(Image.fromarray(RAMP), "EPS")
    with pytest.raises(UnreadableImage, match="cannot identify image file"):
        read(tmp_path, content)
