"""Which files are images: the formats that Pillow decodes by itself, and their endings."""

from functools import cache

from PIL import Image

# Pillow knows these, too, and they are not read: EPS runs a program, WMF needs Windows, some are
# only recognised, and of FITS and McIDAS it does not know which values are negative.
NOT_READ = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MCIDAS", "MPEG", "WMF"}

COMMON = {"JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP"}  # tried first


@cache
def image_formats() -> tuple[str, ...]:
    """The formats that are read, as Pillow names them, in the order in which they are tried."""
    Image.init()
    read = [name for name in Image.ID if name not in NOT_READ]
    return tuple(sorted(read, key=lambda name: name not in COMMON))


@cache
def image_endings() -> frozenset[str]:
    """The endings of these formats, in small letters: ``.jpg``, ``.jfif``, ``.png``, ..."""
    formats = {*image_formats(), "MPO"}  # which begins as a JPEG file and is opened as one
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in formats
    )
