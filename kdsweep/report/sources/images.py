"""Single test images: their pixels, and a sheet of them with the predictions for each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kdsweep.common import text
from kdsweep.errors import UserError
from kdsweep.plotting.drawing import DPI, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kdsweep.data.pipeline.split import Dataset
    from kdsweep.data.types import SourceData

FEWEST_COLUMNS, MOST_COLUMNS = 4, 8
SMALL = 64  # pixels a side; smaller images are shown pixel by pixel
LETTERS = 16  # of a class name
CONTENT = "Comment"  # a field of PNG files
NO_MEMORY = 1e-9  # GiB: images in files stay there
NARROW, WIDE = 1.25, 2.3  # inches a column

# Loads the data set of a run's resolved config.
DatasetLoader = Callable[[dict[str, Any]], "Dataset"]


class LoadedSource:
    """A source that has been read, without a digest: for looking at images, not for training."""

    def __init__(self, name: str, raw: "SourceData") -> None:
        self.name, self._raw = name, raw

    def load(self) -> "SourceData":
        return self._raw

    def digest(self) -> str:
        return ""


def load_dataset(config: dict[str, Any]) -> "Dataset":
    """The data set of a run's resolved config, to look at a few of its images.

    Images in files are decoded when they are read, and pixel statistics are not computed.

    Raises UserError if the data is missing, damaged, or cannot be split as it was.
    """
    from kdsweep.builders.data import build_dataset, build_source
    from kdsweep.config.run_config import from_values
    from kdsweep.config.schema import DatasetConfig

    node = from_values(DatasetConfig, config["dataset"])
    root, source = node.root, dict(node.source)
    if root is not None and not Path(root).expanduser().exists():  # a report downloads nothing
        raise UserError(f"dataset.root: {root} is not here")
    if "memory_gib" in source:
        source |= {"memory_gib": NO_MEMORY, "workers": 0}
    try:
        raw = build_source(replace(node, source=source)).load()
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    any_values = [0.5] * raw.train.images.shape[1]
    node = replace(node, mean=any_values, std=any_values)
    return build_dataset(node, "cpu", LoadedSource(node.name, raw))


def pixels_of(
    config: Mapping[str, Any],
    labels: np.ndarray,
    index: Sequence[int],
    load: DatasetLoader = load_dataset,
) -> np.ndarray:
    """The test images at ``index``, as uint8 (len(index), channels, H, W).

    Args:
        labels: of the whole test set as the run saw it, (N,).

    Raises UserError if the data is missing, or differs from what the run was measured on.
    """
    import torch

    test = load(dict(config)).test
    if not np.array_equal(test.labels.cpu().numpy(), labels):
        raise UserError("dataset: it is no longer what the run was measured on")
    return test.images[torch.tensor(list(index))].cpu().numpy()


class SheetImage(NamedTuple):
    """An image of a contact sheet, and the names of its class and of the predictions for it."""

    pixels: np.ndarray  # uint8 (channels, H, W)
    true: str
    before: str
    after: str

    @property
    def caption(self) -> str:
        """`true: before → after`, in two lines if it is long."""
        names = (self.true, self.before, self.after)
        true, before, after = (text.shorten(name, LETTERS) for name in names)
        space = "\n" if len(true + before + after) > LETTERS else " "
        return f"{true}:{space}{before} → {after}"


Block = tuple[str, Sequence[SheetImage]]  # a heading of two lines, and the images under it


def content_of_sheet(path: Path) -> str | None:
    """The ``content`` that a sheet was written with; None if there is no such file."""
    from PIL import Image

    try:
        with Image.open(path) as sheet:
            content = sheet.info.get(CONTENT)
    except OSError:  # missing or damaged
        return None
    return None if content is None else str(content)


def contact_sheet(blocks: Sequence[Block], path: Path, content: str = "") -> None:
    """Draw blocks of images, each under its heading; empty ones keep their heading.

    Args:
        content: identifies what the sheet shows, and is written into the file.
    """
    from matplotlib.figure import Figure

    lines = [shown.caption.split("\n") for _, block in blocks for shown in block]
    longest = max((len(line) for caption in lines for line in caption), default=0)
    width = min(max(NARROW, 0.075 * longest + 0.3), WIDE)
    row = width + 0.17 * max(map(len, lines), default=1)
    columns = max(FEWEST_COLUMNS, min(MOST_COLUMNS, max(len(block) for _, block in blocks)))
    heights = [0.6 + row * math.ceil(len(block) / columns) for _, block in blocks]
    figure = Figure(figsize=(columns * width, sum(heights)), dpi=DPI, layout="constrained")
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False).ravel()
    for part, (heading, block) in zip(parts, blocks, strict=True):
        letters = int(columns * width * 13)
        title = "\n".join(shorten(line, letters, placeholder="…") for line in heading.split("\n"))
        part.suptitle(title, fontsize=10, x=0.005, ha="left")
        if block:
            panels = part.subplots(math.ceil(len(block) / columns), columns, squeeze=False).ravel()
            _fill(panels, block)
    save_figure(figure, path, metadata={CONTENT: content})


def _fill(panels: Sequence["Axes"], block: Sequence[SheetImage]) -> None:
    for axes in panels:
        axes.set_axis_off()
        axes.set(xticks=[], yticks=[])  # the layout of hidden ticks takes seconds
    for axes, shown in zip(panels, block, strict=False):
        pixels = shown.pixels.transpose(1, 2, 0)
        is_grey, is_small = pixels.shape[2] == 1, max(pixels.shape[:2]) < SMALL
        axes.imshow(
            pixels[..., 0] if is_grey else pixels,
            cmap="gray" if is_grey else None,
            vmin=0,
            vmax=255,
            interpolation="nearest" if is_small else "antialiased",
        )
        axes.set_title(shown.caption, fontsize=8.5, pad=3)
