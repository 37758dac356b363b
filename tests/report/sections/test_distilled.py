"""What distillation did, in the report: likeness to the teacher, and the parts of the section."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from collection import collection, predicting, run
from commands import Outcome
from distilled_data import (
    AFTER,
    BEFORE,
    CE,
    DATA,
    TAUGHT,
    TEACHER,
    TRUE,
    distilled_collection,
    distilled_runs,
    distilled_section,
    random_predictions,
)

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections import calibration
from kdsweep.report.sections.distilled import (
    NOT_CHOSEN,
    NOT_KEPT,
    agreement,
    divergence,
    repeated_mistakes,
    section,
)
from kdsweep.report.sections.networks import correct_predictions
from kdsweep.report.sources.collection import from_folder


def test_likeness_to_the_teacher_against_torch() -> None:
    student, teacher = random_predictions(200, 7, 1), random_predictions(200, 7, 2)
    q, p = (
        torch.tensor(found.logits["test"]).double().log_softmax(1) for found in (student, teacher)
    )
    theirs = F.kl_div(q, p, reduction="batchmean", log_target=True).item()
    assert divergence(student, teacher) == pytest.approx(theirs, abs=1e-12)
    assert divergence(teacher, teacher) == pytest.approx(0, abs=1e-12)
    assert divergence(student, teacher) != pytest.approx(divergence(teacher, student), rel=1e-3)
    assert agreement(predicting(AFTER[0], TRUE), predicting(TEACHER, TRUE)) == pytest.approx(5 / 7)
    assert repeated_mistakes(predicting(AFTER[0], TRUE), predicting(TEACHER, TRUE)) == 0.5


def test_likeness_is_compared_with_the_baseline_seed_by_seed(tmp_path: Path) -> None:
    likeness = distilled_section(distilled_collection(tmp_path)).tables[0]
    assert likeness.header == ("likeness", TAUGHT, CE, "difference", "p")
    what, ours, theirs, difference, p = likeness.rows[0]
    before = [agreement(predicting(one, TRUE), predicting(TEACHER, TRUE)) for one in BEFORE]
    after = [agreement(predicting(one, TRUE), predicting(TEACHER, TRUE)) for one in AFTER]
    assert what == "agreement with the teacher (%)"
    assert ours == f"{100 * np.mean(after):.2f}"
    assert theirs == f"{100 * np.mean(before):.2f}"
    assert difference.startswith(f"{100 * (np.mean(after) - np.mean(before)):+.2f} [")
    assert 0 < float(p) <= 1
    assert [line[0].split()[0] for line in likeness.rows] == ["agreement", "mistakes", "KL"]


def test_without_a_baseline_the_rest_is_there(tmp_path: Path) -> None:
    shown = distilled_section(collection(distilled_runs(TAUGHT, AFTER), tmp_path))
    assert any("labels alone" in sentence for sentence in shown.sentences)
    assert not shown.pictures
    assert [table.header[0] for table in shown.tables] == ["likeness"]
    assert shown.tables[0].rows[0][2] == ""
    assert len(shown.figures) == 2


def test_without_the_teachers_predictions_the_rest_is_there(tmp_path: Path) -> None:
    taught = [
        run(TAUGHT, s, 0.9, predictions=predicting(a, TRUE), config=DATA)
        for s, a in enumerate(AFTER)
    ]
    shown = distilled_section(collection([*distilled_runs(CE, BEFORE), *taught], tmp_path))
    assert "The predictions of its teacher were not kept." in shown.sentences
    assert [table.header[0] for table in shown.tables] == ["class"]
    assert len(shown.pictures) == 1


def test_with_one_seed_no_class_gains(tmp_path: Path) -> None:
    shown = distilled_section(
        collection([*distilled_runs(CE, BEFORE[:1]), *distilled_runs(TAUGHT, AFTER[:1])], tmp_path)
    )
    assert any(sentence.startswith("One seed") for sentence in shown.sentences)
    assert not any("most of" in sentence for sentence in shown.sentences if "fixed" in sentence)


def test_where_nothing_was_taught_there_is_no_section() -> None:
    found = collection(distilled_runs(CE, BEFORE))
    assert section(found, grid(found.rows)) is None


def test_where_nothing_was_held_out_none_of_several_cells_is_chosen() -> None:
    blind = {"val/acc": None}
    found = collection(
        [*distilled_runs("kl T=1", AFTER, **blind), *distilled_runs("kl T=4", AFTER, **blind)]
    )
    assert distilled_section(found).sentences == [NOT_CHOSEN]


def test_without_predictions_there_is_a_message() -> None:
    assert distilled_section(collection([run(TAUGHT, 0, 0.9)])).sentences == [NOT_KEPT]


def test_where_the_labels_alone_won_the_best_taught_cell_is_shown(tmp_path: Path) -> None:
    worse = [
        run(
            TAUGHT,
            s,
            0.7,
            predictions=predicting(a, TRUE),
            teacher_predictions=predicting(TEACHER, TRUE),
            config=DATA,
        )
        for s, a in enumerate(AFTER)
    ]
    shown = distilled_section(collection([*distilled_runs(CE, BEFORE), *worse], tmp_path))
    assert f"{TAUGHT}, the best cell that learned from a teacher, against ce" in shown.sentences[0]


def test_a_trained_sweep_has_the_section(reported: Outcome) -> None:
    found = from_folder(reported.sweep)
    cells = grid(found.rows)
    shown = section(found, cells)
    assert shown is not None
    assert shown.tables[0].header[1:3] == ("kl T=4 alpha=0.5", "ce")
    assert not any("cannot be shown" in sentence for sentence in shown.sentences)
    (taught,) = (r for r in found.rows if r["loss"] == "kl" and r["seed"] == 0)
    (one,) = (r for r in found.runs if r.row is taught)
    assert one.predictions is not None
    assert math.isclose(
        correct_predictions(one.predictions).mean(), taught["test/acc"], abs_tol=1e-12
    )
    calibrated = calibration.section(found, cells)
    assert calibrated is not None
    assert calibrated.tables[0].rows[0][0] == "teacher cnn"
