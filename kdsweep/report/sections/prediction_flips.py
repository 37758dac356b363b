"""The test images that distillation fixed, and those that it broke."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdsweep.errors import UserError
from kdsweep.report.sections.paired_predictions import Array, Pair, predicted
from kdsweep.report.sections.section import Picture, Section
from kdsweep.report.sources.images import Load, Shown, contact_sheet, pixels_of
from kdsweep.tracking.predictions import Predictions

SHEET = "fixed_and_broken.png"
MOST_SHOWN = 24  # images of each kind


class Changed(NamedTuple):
    """A test image on which most seeds of the one cell were right and of the other one wrong."""

    place: int  # in the test set
    before: int  # the baseline's answer; of several wrong ones the most frequent
    after: int  # the distilled cell's


def fixed_and_broken(pair: Pair) -> tuple[list[Changed], list[Changed]]:
    """Those that were wrong and are right now, and the other way round, over the shared seeds.

    The clearest come first, those on which most seeds changed, and of equal ones any: the images
    of a test set are often in the order of their classes.
    """
    ours, theirs = (_said(answers, pair.seeds) for answers in (pair.ours, pair.theirs))
    right_now, right_before = ((said == pair.labels).mean(axis=0) for said in (ours, theirs))
    change = right_now - right_before
    any_order = np.random.default_rng(0).permutation(len(change))
    order = np.lexsort((any_order, -np.abs(change)))
    is_fixed = (right_now > 0.5) & (right_before < 0.5)
    is_broken = (right_now < 0.5) & (right_before > 0.5)

    def told(place: int) -> Changed:
        true = int(pair.labels[place])
        return Changed(place, _answer(theirs[:, place], true), _answer(ours[:, place], true))

    return (
        [told(int(place)) for place in order if is_fixed[place]],
        [told(int(place)) for place in order if is_broken[place]],
    )


def _said(answers: Mapping[int, Predictions], seeds: Sequence[int]) -> Array:
    """(seeds, N)."""
    return np.stack([predicted(answers[seed]) for seed in seeds])


def _answer(said: Array, true: int) -> int:
    """The true class if more than half of the seeds say it, else the most frequent wrong one."""
    if np.mean(said == true) > 0.5:
        return true
    return int(Counter(said[said != true].tolist()).most_common(1)[0][0])


def tell(pair: Pair, home: Path, load: Load) -> Section:
    """Count them, and write the contact sheet of them into a folder."""
    if not pair.seeds:
        return Section("", [])
    fixed, broken = fixed_and_broken(pair)
    most = "" if len(pair.seeds) == 1 else f" in most of {len(pair.seeds)} seeds"
    said = (
        f"Of {len(pair.labels)} test images {pair.name} fixed {len(fixed)} that {pair.baseline} got"
        f" wrong{most}, and broke {len(broken)} that it got right."
    )
    if not fixed and not broken:
        return Section("", [said])
    try:
        _draw(pair, fixed, broken, home / SHEET, load)
    except UserError as error:
        return Section("", [said, f"They cannot be shown: {error}."])
    caption = (
        "Test images that distillation fixed and broke. Above each: its class, what most seeds of"
        f" {pair.baseline} say → what those of {pair.name} say."
    )
    return Section("", [said], pictures=[Picture(home / SHEET, caption)])


def _draw(
    pair: Pair, fixed: Sequence[Changed], broken: Sequence[Changed], path: Path, load: Load
) -> None:
    kinds = [("Fixed", fixed), ("Broken", broken)]
    shown = [one for _, found in kinds for one in found[:MOST_SHOWN]]
    index = [one.place for one in shown]
    pixels = dict(zip(index, pixels_of(pair.config, pair.labels, index, load), strict=True))
    names = pair.classes

    def image(one: Changed) -> Shown:
        true = names[int(pair.labels[one.place])]
        return Shown(pixels[one.place], true, names[one.before], names[one.after])

    key = f"class: {pair.baseline} → {pair.name}"
    blocks = [
        (f"{_heading(kind, found)}\n{key}", [image(one) for one in found[:MOST_SHOWN]])
        for kind, found in kinds
    ]
    contact_sheet(blocks, path)


def _heading(kind: str, found: Sequence[Changed]) -> str:
    if not found:
        return f"{kind}: none"
    if len(found) > MOST_SHOWN:
        return f"{kind}: {len(found)} test images, the clearest {MOST_SHOWN} of them"
    return f"{kind}: {len(found)} test image{'s' if len(found) > 1 else ''}"
