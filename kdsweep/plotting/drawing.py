"""Matplotlib figures: text from data is no markup, and a failed picture must not end a sweep."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.common.text import error_reason, escape_unprintable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

DEFAULT_FONT = "DejaVu Sans"  # comes with matplotlib
EMPTY_FONT = "Last Resort"  # has a box for every letter
DPI = 110


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Turn whatever fails while something is drawn into a warning that names it."""
    try:
        yield
    except Exception as error:
        log.warning("%s could not be drawn: %s", what, escape_unprintable(error_reason(error)))


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def as_array(values: Any) -> "np.ndarray[Any, Any]":
    """A list, an array, or a tensor on any device as an array."""
    import numpy as np

    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def save_with_title(figure: "Figure", path: Path, title: str) -> None:
    """Write a figure of `new_figure` as PNG, cropped, with a title above it unless it is empty."""
    if title:
        figure.suptitle(title, fontsize=12)
    save_figure(figure, path, bbox_inches="tight", pad_inches=0.12)


def save_figure(figure: "Figure", path: Path, **options: Any) -> None:
    """Write a figure as PNG, its texts letter by letter as they are: ``$`` begins no formula."""
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    needed = frozenset("".join(text.get_text() for text in texts))
    families = [DEFAULT_FONT, *fonts_with(needed)]
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(families)
    with warnings.catch_warnings():  # a box stands for a letter that no font here has
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        figure.savefig(path, format="png", **options)


@cache
def fonts_with(letters: frozenset[str]) -> tuple[str, ...]:
    """Installed fonts that together have the letters which matplotlib's own font lacks."""
    from matplotlib.font_manager import findfont, fontManager

    missing = {ord(letter) for letter in letters if letter.isprintable()}
    missing -= _letters_of(findfont(DEFAULT_FONT))
    fonts: list[str] = []
    for entry in sorted(fontManager.ttflist, key=lambda entry: entry.name) if missing else ():
        is_plain = entry.style == "normal" and entry.weight in (400, "normal")
        if not is_plain or entry.name.startswith(EMPTY_FONT) or entry.name in fonts:
            continue
        if covered := missing & _letters_of(entry.fname):
            fonts.append(entry.name)
            missing -= covered
    return tuple(fonts)


@cache
def _letters_of(path: str) -> frozenset[int]:
    """The code points that a font can draw; none of one that holds bitmaps or cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
