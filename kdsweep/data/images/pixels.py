"""Converts an image of any mode to 8 bits a channel, upright; docs/datasets.md has the rules."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY_MODES = ("1", "L", "LA", "La", "F")  # and "I" of any depth
WHITE_OF_16_BITS = 65535
WHITE_OF_12_BITS = 4095
CUT_BY_PILLOW = re.compile(r";16[BLN]$")  # 16 bits a channel, of which Pillow gives the upper 8

ORIENTATION = 0x0112  # the tag of EXIF
SIDEWAYS = (5, 6, 7, 8)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Brightness(NamedTuple):
    """The largest value of an image of more than 8 bits a channel, and its value of white."""

    fraction: float  # value / white, in [0, 1]; first, so that a tuple is larger if it is brighter
    value: float
    white: float
    remedy: str  # other values of white that would be accepted


class Converted(NamedTuple):
    """An image of 8 bits a channel; its brightness if it had more and may be wrongly scaled."""

    image: Image.Image
    brightness: Brightness | None


def is_grey(file: Image.Image) -> bool:
    """Whether an opened file, not decoded yet, holds no colour."""
    # Pillow gives a PNG file of 16-bit grey and alpha as RGBA.
    has_grey_alpha = _raw_mode(file).startswith("LA;")
    return file.mode in GREY_MODES or file.mode.startswith("I") or has_grey_alpha


def is_deep(file: Image.Image) -> bool:
    """Whether an opened file, not decoded yet, holds more than 8 bits a channel."""
    return file.mode == "F" or file.mode.startswith("I") or _is_cut(file)


def upright_size(file: Image.Image) -> tuple[int, int]:
    """(H, W) of an opened file, not decoded yet, once it is turned upright."""
    # Of a TIFF file Pillow gives the size after it was turned.
    is_turned = file.format != "TIFF" and _orientation(file) in SIDEWAYS
    return (file.width, file.height) if is_turned else (file.height, file.width)


def shrink_jpeg(file: Image.Image, least: tuple[int, int]) -> tuple[int, int]:
    """Have an opened JPEG file decoded at the smallest size that covers ``least``, as (H, W).

    That is 1/2, 1/4 or 1/8 of its size, by the inverse DCT of libjpeg, which then has as much less
    to compute; no resampling to ``least`` enlarges the image. Of other files nothing changes.

    Returns (H, W) of the whole image, upright.
    """
    size = upright_size(file)
    if file.format == "JPEG":
        height, width = least[::-1] if _orientation(file) in SIDEWAYS else least
        file.draft(None, (width, height))
    return size


def to_eight_bits(file: Image.Image, mode: str, white: float | None) -> Converted:
    """Decode an opened file to ``L`` or ``RGB``, upright; alpha is dropped.

    ``white`` becomes 255 where a channel has more than 8 bits; None: 65535 of 16 bits, 4095 of 12,
    1 of floating-point numbers. Raises ValueError for values below 0 or above white, 32-bit
    integers without a white, and a colour space that Pillow cannot convert.
    """
    cut, own = _is_cut(file), _own_white(file)
    file.load()
    image, brightest = file, None
    if file.mode == "F" or file.mode.startswith("I"):
        values = np.asarray(file)
        image, brightest = Image.fromarray(_scaled(values, white or own)), float(values.max())
    elif cut:
        if white not in (None, WHITE_OF_16_BITS):
            raise ValueError(
                f"colour of 16 bits a channel, for which dataset.source.white must be null or "
                f"{WHITE_OF_16_BITS}, got {white:g}: only its upper 8 bits are read"
            )
        brightest = 257.0 * float(np.asarray(file.convert("RGB")).max())  # without alpha
    brightness = None
    # The largest value of a type is given on purpose: the images are dark.
    if brightest is not None and white not in (own, *_narrower(own)):
        brightness = _brightness(brightest, white or own, own, cut)
    turn = TURNS.get(_orientation(file))
    upright = image if turn is None else image.transpose(turn)
    # An image that is in the mode would be copied.
    return Converted(upright if upright.mode == mode else upright.convert(mode), brightness)


def _own_white(file: Image.Image) -> int:
    """The white of an opened file, not decoded yet, by the type of its values; 0: unknown."""
    if file.mode == "F":
        return 1
    if _raw_mode(file) == "I;12":
        return WHITE_OF_12_BITS
    # A PGM file contains its own value of white, and Pillow scales it to 16 bits.
    if file.mode.startswith("I;16") or file.format == "PPM" or _is_cut(file):
        return WHITE_OF_16_BITS
    return 0


def _narrower(own: int) -> tuple[int, ...]:
    """Values of 12 bits are often stored in 16."""
    return (WHITE_OF_12_BITS,) if own == WHITE_OF_16_BITS else ()


def _brightness(value: float, white: float, own: int, cut: bool) -> Brightness:
    remedies = []
    if not cut:  # otherwise no other white is allowed
        remedies.append(f"at most {4 * value:g}")
        remedies += [f"{w} for values of 12 bits" for w in _narrower(own) if value <= w]
    if own:
        remedies.append(f"{own} to take them as they are")
    return Brightness(value / white, value, white, ", or ".join(remedies))


def _scaled(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    """0 to white becomes 0 to 255, rounded."""
    if not white:
        raise ValueError(
            "32-bit integers, of which dataset.source.white must say which value is white"
        )
    numbers = values.astype(np.float64)
    low, high = numbers.min(), numbers.max()
    if not (low >= 0 and high <= white):  # NaN is neither
        raise ValueError(
            f"values from {low:g} to {high:g}, where 0 is black and {white:g} is white "
            "(dataset.source.white is the value that is white)"
        )
    return np.rint(numbers * (255 / white)).astype(np.uint8)


def _is_cut(file: Image.Image) -> bool:
    """Whether Pillow will give the upper 8 of 16 bits, as it does for all but one grey channel."""
    if file.mode.startswith("I"):
        return False
    tiles = getattr(file, "tile", None) or [("", None, 0, "")]
    return tiles[0][0] == "SGI16" or CUT_BY_PILLOW.search(_raw_mode(file)) is not None


def _raw_mode(file: Image.Image) -> str:
    """The layout of pixels in an opened file, not decoded yet; empty where Pillow has none."""
    tiles = getattr(file, "tile", None)
    if not tiles:
        return ""
    options = tiles[0][3]
    first = options[0] if isinstance(options, tuple) and options else options
    return first if isinstance(first, str) else ""


def _orientation(file: Image.Image) -> int:
    """1 (upright) to 8, from EXIF or XMP; 1 if that cannot be read."""
    try:
        return int(file.getexif().get(ORIENTATION, 1))
    except Exception:  # of any type: the block is damaged, the pixels may be intact
        return 1
