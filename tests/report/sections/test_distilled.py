"""What the report says distillation did: likeness to the teacher, classes, single images."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import Command, Compose
from evidence import MadeRun, answers, evidence, run, saying
from matplotlib.image import imread
from PIL import Image
from sklearn.metrics import confusion_matrix

from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import to_values
from kdsweep.data.images.lazy import StoredImages
from kdsweep.errors import UserError
from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import calibration
from kdsweep.report.sections.class_changes import (
    MOST_CLASSES,
    confusion_difference,
    dark_knowledge,
    gains,
    tell_matrices,
)
from kdsweep.report.sections.distilled import (
    NOT_CHOSEN,
    NOT_KEPT,
    agreement,
    divergence,
    repeated_mistakes,
    section,
)
from kdsweep.report.sections.paired_predictions import Pair, pair, right_answers
from kdsweep.report.sections.prediction_flips import MOST_SHOWN, SHEET, Changed, fixed_and_broken
from kdsweep.report.sections.section import Section
from kdsweep.report.sources.collection import Evidence, from_folder
from kdsweep.report.sources.images import Shown, contact_sheet, load_dataset, pixels_of
from kdsweep.tracking.predictions import Predictions

CAT, DOG, FISH = range(3)
TRUE = [CAT, CAT, CAT, CAT, DOG, DOG, FISH]
TEACHER = [CAT, CAT, CAT, DOG, DOG, CAT, FISH]
# What the seeds of the baseline, and those of the distilled cell, say of the images.
BEFORE = ([DOG, CAT, CAT, DOG, DOG, CAT, FISH], [DOG, CAT, CAT, CAT, DOG, CAT, CAT])
BEFORE = (*BEFORE, [FISH, CAT, FISH, FISH, DOG, FISH, FISH])
AFTER = ([CAT, CAT, DOG, DOG, DOG, DOG, FISH], [CAT, CAT, DOG, DOG, DOG, DOG, FISH])
AFTER = (*AFTER, [CAT, CAT, CAT, CAT, DOG, CAT, FISH])
TAUGHT, CE = "kl T=4 alpha=0.9", "ce"
PIXELS = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 1, 8, 8) * 30
DATA = {"dataset": {"name": "made"}}


def runs(cell: str, said: Sequence[Sequence[int]], **other: Any) -> list[MadeRun]:
    return [
        run(
            cell,
            seed,
            0.8 if cell == CE else 0.9,
            answers=saying(one, TRUE),
            teacher_answers=None if cell == CE else saying(TEACHER, TRUE),
            config=DATA,
            **other,
        )
        for seed, one in enumerate(said)
    ]


def made(home: Path = Path()) -> Evidence:
    return evidence([*runs(CE, BEFORE), *runs(TAUGHT, AFTER)], home)


def made_pair(found: Evidence | None = None) -> Pair:
    found = found or made()
    told = grid(found.rows)
    assert told.best is not None
    return pair(found, told.best, told.baselines.get(told.best.name))


def data(config: dict[str, Any]) -> Any:
    """Stands for the data set of a run."""
    assert config == DATA
    return SimpleNamespace(test=SimpleNamespace(images=PIXELS, labels=torch.tensor(TRUE)))


def told(found: Evidence, load: Any = data) -> Section:
    said = section(replace(found, load=load), grid(found.rows))
    assert said is not None
    return said


def random_answers(images: int, classes: int, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    names = [f"class {number}" for number in range(classes)]
    labels = np.arange(images) % classes
    return answers(3 * rng.normal(size=(images, classes)), labels, classes=names)


def test_right_answers_are_in_the_order_of_the_test_set() -> None:
    assert right_answers(saying(TEACHER, TRUE)).tolist() == [True] * 3 + [False, True, False, True]


def test_likeness_to_the_teacher_against_torch() -> None:
    student, teacher = random_answers(200, 7, 1), random_answers(200, 7, 2)
    q, p = (found.logits["test"].double().log_softmax(1) for found in (student, teacher))
    theirs = F.kl_div(q, p, reduction="batchmean", log_target=True).item()
    assert divergence(student, teacher) == pytest.approx(theirs, abs=1e-12)
    assert divergence(teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert divergence(student, teacher) != pytest.approx(divergence(teacher, student), rel=1e-3)
    assert agreement(saying(AFTER[0], TRUE), saying(TEACHER, TRUE)) == pytest.approx(5 / 7)
    assert repeated_mistakes(saying(AFTER[0], TRUE), saying(TEACHER, TRUE)) == 0.5


def test_likeness_is_compared_with_the_baseline_seed_by_seed(tmp_path: Path) -> None:
    likeness = told(made(tmp_path)).tables[0]
    assert likeness.header == ("likeness", TAUGHT, CE, "difference", "p")
    what, ours, theirs, difference, p = likeness.rows[0]
    before = [agreement(saying(one, TRUE), saying(TEACHER, TRUE)) for one in BEFORE]
    after = [agreement(saying(one, TRUE), saying(TEACHER, TRUE)) for one in AFTER]
    assert what == "agreement with the teacher (%)"
    assert ours == f"{100 * np.mean(after):.2f}"
    assert theirs == f"{100 * np.mean(before):.2f}"
    assert difference.startswith(f"{100 * (np.mean(after) - np.mean(before)):+.2f} [")
    assert 0 < float(p) <= 1
    assert [line[0].split()[0] for line in likeness.rows] == ["agreement", "mistakes", "KL"]


def test_gains_are_of_each_class_and_the_largest_comes_first() -> None:
    found = gains(made_pair())
    assert list(found) == [DOG, FISH, CAT]
    assert found[FISH].difference == pytest.approx(1 / 3)  # one seed of three missed the one fish
    assert found[DOG].difference == pytest.approx(1 / 3)  # half of the dogs in two seeds of three
    assert found[CAT].difference == pytest.approx(
        np.mean([0.5, 0.5, 1.0]) - np.mean([0.5, 0.75, 0.25])
    )
    assert found[DOG].n == 3


def test_images_are_fixed_and_broken_by_most_of_the_seeds() -> None:
    """Image 2 (a cat) is right before in two seeds of three, and wrong now in two of three."""
    fixed, broken = fixed_and_broken(made_pair())
    assert fixed[0] == Changed(place=0, before=DOG, after=CAT)  # in all seeds: the clearest
    assert fixed[1:] == [Changed(place=5, before=CAT, after=DOG)]
    assert broken == [Changed(place=2, before=CAT, after=DOG)]


def test_without_a_majority_nothing_is_fixed_or_broken() -> None:
    """Image 0 is right in one seed of two: neither right nor wrong in most."""
    half = [[CAT, *TRUE[1:]], [DOG, *TRUE[1:]]]
    found = evidence([*runs(CE, half), *runs(TAUGHT, [TRUE, TRUE])])
    assert fixed_and_broken(made_pair(found)) == ([], [])


def test_the_sheet_shows_what_was_fixed_and_broken(tmp_path: Path) -> None:
    said = told(made(tmp_path))
    (sheet,) = said.pictures
    assert sheet.path == tmp_path / SHEET
    assert imread(sheet.path).shape[1] > 400
    assert f"Of 7 test images {TAUGHT} fixed 2" in " ".join(said.sentences)
    assert "broke 1" in " ".join(said.sentences)


def test_captions_say_class_before_and_after() -> None:
    pixels = np.zeros((1, 8, 8), np.uint8)
    assert Shown(pixels, "3", "8", "3").caption == "3: 8 → 3"
    assert Shown(pixels, "automobile", "truck", "automobile").caption == (
        "automobile:\ntruck → automobile"
    )
    long = Shown(pixels, "Staffordshire bullterrier", "a", "b").caption
    assert long.startswith("Staffordshire b…:")


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (224, 3)])
def test_the_sheet_holds_images_of_any_size(side: int, channels: int, tmp_path: Path) -> None:
    one = Shown(np.full((channels, side, side), 255, np.uint8), "cat", "dog", "cat")
    contact_sheet([("Fixed\ncats", [one] * MOST_SHOWN), ("Broken: none\n", [])], tmp_path / "s.png")
    sheet = imread(tmp_path / "s.png")[..., :3]  # in [0, 1]
    assert sheet.shape[0] > 300
    assert sheet.min() < 0.4  # the captions


def test_data_that_is_not_there_is_said_and_nothing_else_is_lost(tmp_path: Path) -> None:
    def missing(config: dict[str, Any]) -> Any:
        raise UserError("dataset.root: images is not here")

    said = told(made(tmp_path), missing)
    assert not said.pictures
    assert "They cannot be shown: dataset.root: images is not here." in said.sentences
    assert len(said.figures) == 3


def test_other_data_than_the_run_saw_is_refused() -> None:
    with pytest.raises(UserError, match="no longer"):
        pixels_of(DATA, np.array(TRUE[::-1]), [0], data)
    assert pixels_of(DATA, np.array(TRUE), [3, 1], data)[:, 0, 0, 0].tolist() == [90, 30]


def test_of_images_in_files_only_those_that_are_shown_are_decoded(
    compose: Compose, tmp_path: Path
) -> None:
    for part, name, place in product(("train", "test"), ("cat", "dog"), range(20)):
        folder = tmp_path / part / name
        folder.mkdir(parents=True, exist_ok=True)
        shade = 100 * (name == "dog") + 2 * place + (part == "test")
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(folder / f"{place:02}.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", "loss=ce"]
    config = to_values(resolve_config(compose(*words)))
    assert isinstance(load_dataset(config).test.images, StoredImages)
    labels = np.repeat([0, 1], 20)
    assert pixels_of(config, labels, [3, 21])[:, 0, 0, 0].tolist() == [7, 103]
    (tmp_path / "test" / "dog" / "19.png").unlink()
    with pytest.raises(UserError, match="no longer"):
        pixels_of(config, labels, [3, 21])


def test_a_root_that_is_gone_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not here"):
        load_dataset({"dataset": {"root": str(tmp_path / "gone"), "source": {}}})


def test_confusion_is_that_of_scikit_learn() -> None:
    found = confusion_difference(made_pair())
    ours = np.mean([confusion_matrix(TRUE, one, normalize="true") for one in AFTER], axis=0)
    theirs = confusion_matrix(TRUE, TEACHER, normalize="true")
    np.testing.assert_allclose(found, ours - theirs, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12)


def test_dark_knowledge_is_softened_at_the_cells_T() -> None:
    found = dark_knowledge(made_pair())
    soft = torch.softmax(saying(TEACHER, TRUE).logits["test"].double() / 4, 1)
    dogs = soft[[4, 5]].mean(0)
    np.testing.assert_allclose(found[DOG], dogs, atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_matrices_leave_out_what_would_hide_the_rest(tmp_path: Path) -> None:
    gain, confusion, dark = told(made(tmp_path)).figures
    assert np.isnan(np.diag(dark.data[0].z)).all()
    heat = confusion.data[0]
    assert heat.zmin == -heat.zmax
    beside = confusion_difference(made_pair())[~np.eye(3, dtype=bool)]
    assert heat.zmax == pytest.approx(100 * np.abs(beside).max())
    assert list(heat.y) == ["cat", "dog", "fish"]
    assert sum(len(trace.y) for trace in gain.data) == 3


def test_of_many_classes_the_most_changed_are_shown() -> None:
    many = MOST_CLASSES + 20
    ours, teacher = random_answers(600, many, 1), random_answers(600, many, 2)
    teacher.logits["test"][:, :20] = ours.logits["test"][:, :20]
    quiet = Pair(TAUGHT, None, {0: ours}, {}, {0: teacher}, 4.0, {})
    said = tell_matrices(quiet)
    assert any(f"Of {many} classes the {MOST_CLASSES}" in sentence for sentence in said.sentences)
    assert np.shape(said.figures[0].data[0].z) == (MOST_CLASSES, MOST_CLASSES)


def test_a_class_without_a_test_image_is_left_out() -> None:
    no_fish = TRUE[:-1]
    parts = {0: saying(AFTER[0][:-1], no_fish)}
    found = Pair(TAUGHT, CE, parts, parts, {0: saying(TEACHER[:-1], no_fish)}, 4.0, {})
    assert FISH not in gains(found)
    assert np.isnan(confusion_difference(found)[FISH]).all()
    assert len(tell_matrices(found).figures) == 2


def test_without_a_baseline_the_rest_is_told(tmp_path: Path) -> None:
    said = told(evidence(runs(TAUGHT, AFTER), tmp_path))
    assert any("labels alone" in sentence for sentence in said.sentences)
    assert not said.pictures
    assert [table.header[0] for table in said.tables] == ["likeness"]
    assert said.tables[0].rows[0][2] == ""
    assert len(said.figures) == 2


def test_without_the_teachers_answers_the_rest_is_told(tmp_path: Path) -> None:
    taught = [
        run(TAUGHT, s, 0.9, answers=saying(a, TRUE), config=DATA) for s, a in enumerate(AFTER)
    ]
    said = told(evidence([*runs(CE, BEFORE), *taught], tmp_path))
    assert "The answers of its teacher were not kept." in said.sentences
    assert [table.header[0] for table in said.tables] == ["class"]
    assert len(said.pictures) == 1


def test_with_one_seed_no_class_is_said_to_gain(tmp_path: Path) -> None:
    said = told(evidence([*runs(CE, BEFORE[:1]), *runs(TAUGHT, AFTER[:1])], tmp_path))
    assert any(sentence.startswith("One seed") for sentence in said.sentences)
    assert not any("most of" in sentence for sentence in said.sentences if "fixed" in sentence)


def test_runs_on_other_test_images_are_not_compared() -> None:
    """Merged sweeps may have cells of one name on different data."""
    others = [run(CE, 0, 0.8, answers=saying(BEFORE[0][:-1], TRUE[:-1]), config=DATA)]
    found = made_pair(evidence([*others, *runs(TAUGHT, AFTER)]))
    assert found.theirs == {}
    assert sorted(found.ours) == [0, 1, 2]


def test_where_nothing_was_taught_there_is_no_section() -> None:
    found = evidence(runs(CE, BEFORE))
    assert section(found, grid(found.rows)) is None


def test_where_nothing_was_held_out_none_of_several_cells_is_chosen() -> None:
    blind = {"val/acc": None}
    found = evidence([*runs("kl T=1", AFTER, **blind), *runs("kl T=4", AFTER, **blind)])
    assert told(found).sentences == [NOT_CHOSEN]


def test_without_answers_it_says_so() -> None:
    assert told(evidence([run(TAUGHT, 0, 0.9)])).sentences == [NOT_KEPT]


def test_where_the_labels_alone_won_the_best_taught_cell_is_told_of(tmp_path: Path) -> None:
    worse = [
        run(
            TAUGHT,
            s,
            0.7,
            answers=saying(a, TRUE),
            teacher_answers=saying(TEACHER, TRUE),
            config=DATA,
        )
        for s, a in enumerate(AFTER)
    ]
    said = told(evidence([*runs(CE, BEFORE), *worse], tmp_path))
    assert f"{TAUGHT}, the best cell that learned from a teacher, against ce" in said.sentences[0]


def test_a_trained_sweep_is_told_of(command: Command, tmp_path: Path) -> None:
    ran = command("loss=ce,kl", "T=4", "seed=0,1", "hydra.sweep.dir=swept")
    assert ran.code == 0, ran.err
    found = from_folder(tmp_path / "swept")
    cells = grid(found.rows)
    said = section(found, cells)
    assert said is not None
    assert said.tables[0].header[1:3] == ("kl T=4 alpha=0.5", "ce")
    assert not any("cannot be shown" in sentence for sentence in said.sentences)
    (taught,) = (r for r in found.rows if r["loss"] == "kl" and r["seed"] == 0)
    (one,) = (r for r in found.runs if r.row is taught)
    assert one.answers is not None
    assert math.isclose(right_answers(one.answers).mean(), taught["test/acc"], abs_tol=1e-12)
    calibrated = calibration.section(found, cells)
    assert calibrated is not None
    assert calibrated.tables[0].rows[0][0] == "teacher cnn"
