"""The image formats that are read, those that Pillow decodes itself, and their file endings."""

from functools import cache

from PIL import Image

# Formats of Pillow that are not read: EPS runs a program, WMF needs Windows, some are only
# recognised, and the sign of values of FITS and McIDAS is unknown.
EXCLUDED = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MCIDAS", "MPEG", "WMF"}

COMMON = {"JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP"}  # tried first


@cache
def image_formats() -> tuple[str, ...]:
    """The formats that are read, as Pillow names them, in the order in which they are tried."""
    Image.init()
    names = [name for name in Image.ID if name not in EXCLUDED]
    return tuple(sorted(names, key=lambda name: name not in COMMON))


@cache
def image_endings() -> frozenset[str]:
    """The endings of these formats, in lower case: ``.jpg``, ``.jfif``, ``.png``, ..."""
    formats = {*image_formats(), "MPO"}  # which begins as a JPEG file and is opened as one
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in formats
    )
