"""The test images that distillation fixed, and those that it broke."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdsweep.common.text import counted
from kdsweep.errors import UserError
from kdsweep.report.analysis.temperature_scaling import Array
from kdsweep.report.sections.networks import Pair, predicted_classes
from kdsweep.report.sections.section import Picture, Section
from kdsweep.report.sources.images import (
    DatasetLoader,
    SheetImage,
    contact_sheet,
    content_of_sheet,
    pixels_of,
)

SHEET = "fixed_and_broken.png"
MOST_SHOWN = 24  # images of each kind


class PredictionFlip(NamedTuple):
    """A test image that most seeds of one cell classify correctly and of the other one wrongly."""

    image: int  # its index in the test set
    before: int  # class that the baseline predicts; of several wrong ones the most frequent
    after: int  # class that the distilled cell predicts


Kinds = Mapping[str, Sequence[PredictionFlip]]


def prediction_flips(pair: Pair) -> tuple[list[PredictionFlip], list[PredictionFlip]]:
    """The images that were wrong and are right now, and the reverse, over the shared seeds.

    The clearest come first, those on which most seeds changed, and of equal ones any: the images
    of a test set are often in the order of their classes.
    """
    before, after = (  # predicted classes, (seeds, N)
        np.stack([predicted_classes(students[seed]) for seed in pair.seeds])
        for students in (pair.baseline_students, pair.students)
    )
    right_before, right_after = ((each == pair.labels).mean(axis=0) for each in (before, after))
    change = right_after - right_before
    any_order = np.random.default_rng(0).permutation(len(change))
    order = np.lexsort((any_order, -np.abs(change)))
    is_fixed = (right_before < 0.5) & (right_after > 0.5)
    is_broken = (right_before > 0.5) & (right_after < 0.5)

    def flip(index: int) -> PredictionFlip:
        true = int(pair.labels[index])
        return PredictionFlip(index, _vote(before[:, index], true), _vote(after[:, index], true))

    return (
        [flip(int(index)) for index in order if is_fixed[index]],
        [flip(int(index)) for index in order if is_broken[index]],
    )


def _vote(classes: Array, true: int) -> int:
    """The true class if more than half of the seeds predict it, else the most frequent other."""
    if np.mean(classes == true) > 0.5:
        return true
    return int(Counter(classes[classes != true].tolist()).most_common(1)[0][0])


def flips_section(pair: Pair, folder: Path, load: DatasetLoader) -> Section:
    """How many there are, and the contact sheet of them, which is written into a folder."""
    if not pair.seeds:
        return Section("", [])
    fixed, broken = prediction_flips(pair)
    most = "" if len(pair.seeds) == 1 else f" in most of {len(pair.seeds)} seeds"
    text = (
        f"Of {len(pair.labels)} test images {pair.name} fixed {len(fixed)} that {pair.baseline} got"
        f" wrong{most}, and broke {len(broken)} that it got right."
    )
    if not fixed and not broken:
        return Section("", [text])
    try:
        _draw_once(pair, {"Fixed": fixed, "Broken": broken}, folder / SHEET, load)
    except UserError as error:
        return Section("", [text, f"They cannot be shown: {error}."])
    caption = (
        "Test images that distillation fixed and broke. Above each: its class, what most seeds of"
        f" {pair.baseline} predict → what those of {pair.name} predict."
    )
    return Section("", [text], pictures=[Picture(folder / SHEET, caption)])


def _draw_once(pair: Pair, kinds: Kinds, path: Path, load: DatasetLoader) -> None:
    """Draw the contact sheet, unless it is there: reading the images takes torch and the data."""
    content = _content(pair, kinds)
    if content_of_sheet(path) != content:
        _draw(pair, kinds, path, load, content)


def _content(pair: Pair, kinds: Kinds) -> str:
    """A digest of what the sheet shows: the data set, its labels, the images and the texts."""
    shown = {kind: [len(flips), *flips[:MOST_SHOWN]] for kind, flips in kinds.items()}
    texts = [pair.name, pair.baseline, *pair.classes]
    described = json.dumps([pair.config.get("dataset"), texts, shown], sort_keys=True, default=str)
    return hashlib.sha256(described.encode() + pair.labels.tobytes()).hexdigest()


def _draw(pair: Pair, kinds: Kinds, path: Path, load: DatasetLoader, content: str) -> None:
    every = [flip.image for flips in kinds.values() for flip in flips[:MOST_SHOWN]]
    pixels = dict(zip(every, pixels_of(pair.config, pair.labels, every, load), strict=True))
    names = pair.classes
    blocks = []
    for kind, flips in kinds.items():
        number = counted(len(flips), "test image") if flips else "none"
        clearest = f", the clearest {MOST_SHOWN} of them" if len(flips) > MOST_SHOWN else ""
        images = []
        for image, before, after in flips[:MOST_SHOWN]:
            true = int(pair.labels[image])
            images.append(SheetImage(pixels[image], names[true], names[before], names[after]))
        heading = f"{kind}: {number}{clearest}\nclass: {pair.baseline} → {pair.name}"
        blocks.append((heading, images))
    contact_sheet(blocks, path, content)
