"""The images that distillation fixed and broke."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collection import collection
from distilled_data import (
    AFTER,
    BEFORE,
    CAT,
    CE,
    DOG,
    TAUGHT,
    TRUE,
    distilled_collection,
    distilled_pair,
    distilled_runs,
    distilled_section,
    load_data,
)
from matplotlib.image import imread

from kdsweep.errors import UserError
from kdsweep.report.sections.prediction_flips import SHEET, PredictionFlip, prediction_flips


def test_images_are_fixed_and_broken_by_most_of_the_seeds() -> None:
    """Image 2 (a cat) is right before in two seeds of three, and wrong now in two of three."""
    fixed, broken = prediction_flips(distilled_pair())
    assert fixed[0] == PredictionFlip(image=0, before=DOG, after=CAT)  # in all seeds: the clearest
    assert fixed[1:] == [PredictionFlip(image=5, before=CAT, after=DOG)]
    assert broken == [PredictionFlip(image=2, before=CAT, after=DOG)]


def test_without_a_majority_nothing_is_fixed_or_broken() -> None:
    """Image 0 is right in one seed of two: neither right nor wrong in most."""
    half = [[CAT, *TRUE[1:]], [DOG, *TRUE[1:]]]
    found = collection([*distilled_runs(CE, half), *distilled_runs(TAUGHT, [TRUE, TRUE])])
    assert prediction_flips(distilled_pair(found)) == ([], [])


def test_the_sheet_shows_what_was_fixed_and_broken(tmp_path: Path) -> None:
    shown = distilled_section(distilled_collection(tmp_path))
    (sheet,) = shown.pictures
    assert sheet.path == tmp_path / SHEET
    assert imread(sheet.path).shape[1] > 400
    assert f"Of 7 test images {TAUGHT} fixed 2" in " ".join(shown.sentences)
    assert "broke 1" in " ".join(shown.sentences)


@pytest.mark.slow
def test_a_sheet_is_drawn_again_only_if_it_shows_something_else(tmp_path: Path) -> None:
    """Its images are read with torch, which a report of a folder does not import otherwise."""
    loaded = []

    def counting(config: dict[str, Any]) -> Any:
        loaded.append(config)
        return load_data(config)

    found = distilled_collection(tmp_path)
    for _ in range(2):
        assert distilled_section(found, counting).pictures
    assert len(loaded) == 1
    other = collection([*distilled_runs(CE, BEFORE[:1]), *distilled_runs(TAUGHT, AFTER[:1])])
    assert distilled_section(replace(other, folder=tmp_path), counting).pictures
    assert len(loaded) == 2
    (tmp_path / SHEET).write_bytes(b"damaged")
    assert distilled_section(replace(other, folder=tmp_path), counting).pictures
    assert len(loaded) == 3


def test_missing_data_is_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    def missing(config: dict[str, Any]) -> Any:
        raise UserError("dataset.root: images is not here")

    shown = distilled_section(distilled_collection(tmp_path), missing)
    assert not shown.pictures
    assert "They cannot be shown: dataset.root: images is not here." in shown.sentences
    assert len(shown.figures) == 3
