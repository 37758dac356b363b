"""The report on the calibrated T against the best swept one."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from collection import MadeRun, collection, drawn, predictions, run

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.analysis.temperature_scaling import scores
from kdsweep.report.formatting import listed
from kdsweep.report.sections.calibration import NOT_KEPT, NOTHING_HELD_OUT, section
from kdsweep.report.sections.section import Section
from kdsweep.report.sections.temperature_question import questions_of
from kdsweep.tracking.predictions import Predictions

NOISE = (0.0, 0.004, -0.004, 0.002)


def teacher(T: float, images: int = 600) -> Predictions:
    """One that is calibrated at about T, as `drawn` knows it."""
    test, labels = drawn(images, 3, T, seed=1)
    val, val_labels = drawn(images, 3, T, seed=2)
    return predictions(test, labels, val, val_labels)


def right_always() -> Predictions:
    logits, _ = drawn(50, 3, 1.0)
    return predictions(logits, logits.argmax(1), logits, logits.argmax(1))


def cell(name: str, mean: float, of: Predictions | None, seeds: int = 4) -> list[MadeRun]:
    """Runs whose differences to another cell vary a little by the seed."""
    student = teacher(1.5, images=100)
    wobble = 0.0003 * len(name)
    return [
        run(
            name,
            seed,
            mean + NOISE[seed] + wobble * (seed % 2),
            predictions=student,
            teacher_predictions=of,
        )
        for seed in range(seeds)
    ]


def section_of(runs: Sequence[MadeRun]) -> Section:
    found = collection(runs)
    made = section(found, grid(found.rows))
    assert made is not None
    return made


def sentences_of(runs: Sequence[MadeRun]) -> list[str]:
    """What the section writes on the one teacher of these runs."""
    found = collection(runs)
    (question,) = questions_of(found.finished_runs(), grid(found.rows))
    return question.sentences


def test_a_best_T_far_from_the_calibrated_one_is_called_different() -> None:
    one = teacher(1.5)
    runs = [*cell("kl T=1.5", 0.80, one), *cell("kl T=16 x=y", 0.90, one), *cell("ce", 0.7, None)]
    sentences = sentences_of(runs)
    assert "calibrated at T = 1.6" in sentences[0]
    assert "bootstrap over 600 validation images" in sentences[0]
    assert "overconfident" in sentences[0]
    assert "The best swept T is 16" in sentences[1]
    assert "better than every other swept T" in sentences[1]
    assert "16 in 4 of 4 seeds" in sentences[1]
    assert "The best T does not seem to be the calibrated one: T = 1.5" in sentences[2]
    assert "-10." in sentences[2]


def test_a_best_T_next_to_the_calibrated_one_is_called_the_same() -> None:
    one = teacher(1.5)
    runs = [*cell("kl T=1.5", 0.90, one), *cell("kl T=16 x=y", 0.80, one)]
    sentences = sentences_of(runs)
    assert "the best T is the calibrated one" in sentences[2]


def test_a_T_that_is_tied_with_the_best_is_not_called_different() -> None:
    one = teacher(1.5)
    runs = [*cell("kl T=1.5", 0.8999, one), *cell("kl T=8 x=y", 0.90, one)]
    runs += cell("kl T=64 x=yz", 0.5, one)
    sentences = sentences_of(runs)
    assert "statistically tied with T = 1.5" in sentences[1]
    assert "not shown to differ" in sentences[2]
    assert "T = 1.5 is tied with it" in sentences[2]


def test_a_best_T_within_the_interval_is_not_called_different() -> None:
    """Sixty images leave the interval so wide that it holds the best T and the nearest one."""
    few = teacher(3, images=60)
    runs = [*cell("kl T=3", 0.8, few), *cell("kl T=2.4 x=y", 0.9, few)]
    sentences = sentences_of([*runs, *cell("kl T=64 x=yz", 0.5, few)])
    assert "whose interval contains 2.4" in sentences[2]


def test_where_all_T_are_tied_the_question_stays_open() -> None:
    one = teacher(1.5)
    runs = [*cell("kl T=1.5", 0.8999, one), *cell("kl T=8 x=y", 0.90, one)]
    sentences = sentences_of(runs)
    assert "stays open" in sentences[2]


def test_one_seed_decides_nothing() -> None:
    one = teacher(1.5)
    runs = [*cell("kl T=1.5", 0.8, one, seeds=1), *cell("kl T=16", 0.9, one, seeds=1)]
    sentences = sentences_of(runs)
    assert "one seed cannot distinguish" in sentences[1]
    assert "stays open" in sentences[2]


def test_where_no_T_near_the_calibrated_one_was_swept_one_is_proposed() -> None:
    one = teacher(1.5)
    sentences = sentences_of([*cell("kl T=8", 0.8, one), *cell("kl T=16 x", 0.9, one)])
    assert "No T near 1." in sentences[2]
    assert "would show it" in sentences[2]


def test_where_one_T_was_swept_nothing_is_compared() -> None:
    sentences = sentences_of(cell("kl T=8", 0.8, teacher(1.5)))
    assert "Only T = 8 was swept" in sentences[1]


def test_a_teacher_that_is_always_right_has_no_calibrated_T() -> None:
    one = right_always()
    found = section_of([*cell("kl T=1", 0.8, one), *cell("kl T=16 x", 0.9, one)])
    assert "right on all 50 validation images" in found.sentences[0]
    assert "no calibrated T" in found.sentences[0]
    assert "calibrated one" not in " ".join(found.sentences)
    (table,) = found.tables
    assert table.rows[0][:3] == ("teacher cnn", "1", "none")
    assert table.rows[0][4] == ""


def test_students_without_a_calibrated_T_are_counted() -> None:
    runs = cell("kl T=1", 0.8, teacher(1.5))
    runs[0] = run("kl T=1", 0, 0.8, predictions=right_always(), teacher_predictions=teacher(1.5))
    found = section_of(runs)
    assert any("1 of the 4 networks of kl T=1 have no calibrated T" in s for s in found.sentences)
    assert found.tables[0].rows[1][:2] == ("kl T=1", "3")


def test_every_teacher_has_its_own_question() -> None:
    runs = cell("kl T=1 teacher=a", 0.9, teacher(1.5))
    runs += [
        run("kl T=4 teacher=b", s, 0.8, teacher="b", teacher_predictions=teacher(3)) for s in (0, 1)
    ]
    found = section_of(runs)
    assert [line[0] for line in found.tables[0].rows][:2] == ["teacher cnn", "teacher b"]
    assert sum("Only T" in sentence for sentence in found.sentences) == 2


def test_teachers_of_their_own_seed_have_an_interval_over_the_seeds() -> None:
    runs = [
        run(
            "kl T=1",
            seed,
            0.8,
            predictions=teacher(1.5),
            teacher_predictions=teacher(1.5, 300 + seed),
        )
        for seed in range(3)
    ]
    found = section_of(runs)
    assert "95 % of the seeds" in found.sentences[0]
    assert found.tables[0].rows[0][1] == "3"


def test_the_table_has_what_scaling_does_on_test() -> None:
    found = section_of([*cell("kl T=1", 0.8, teacher(2.5)), *cell("ce", 0.7, None)])
    (table,) = found.tables
    assert [line[0] for line in table.rows] == ["teacher cnn", "kl T=1", "ce"]
    one = teacher(2.5)
    logits, labels = (part["test"] for part in (one.logits, one.labels))
    T = float(table.rows[0][2].split()[0])
    assert float(table.rows[0][6]) == pytest.approx(scores(logits, labels, T).nll, abs=1e-4)
    before, after = float(table.rows[0][5]), float(table.rows[0][6])
    assert after < before  # NLL: its labels were drawn at T = 2.5
    assert float(table.rows[0][3]) > 10 > float(table.rows[0][4])  # ECE in percent
    assert all(len(line) == len(table.header) for line in table.rows)


def test_the_figures_show_the_question_and_the_reliability() -> None:
    one = teacher(1.5)
    found = section_of([*cell("kl T=1", 0.8, one), *cell("kl T=16 x", 0.9, one)])
    question, diagram = found.figures
    nll = question.data[0]
    calibrated = float(nll.x[int(np.argmin(nll.y))])
    assert math.isclose(calibrated, 1.5, rel_tol=0.2)
    accuracies = [trace for trace in question.data if trace.mode == "markers"]
    assert sorted(x for trace in accuracies for x in trace.x) == [1.0, 16.0]
    names = {trace.name for trace in diagram.data}
    assert {"calibrated", "as it is"} < names


def test_without_validation_there_is_a_message() -> None:
    runs = [run("kl T=1", seed, 0.8, **{"val/acc": None}) for seed in range(2)]
    assert section_of(runs).sentences == [NOTHING_HELD_OUT]


def test_without_predictions_there_is_a_message() -> None:
    found = section_of([run("kl T=1", seed, 0.8) for seed in range(2)])
    assert found.sentences == [NOT_KEPT]
    assert not found.tables


def test_without_a_finished_run_there_is_no_section() -> None:
    found = collection(
        [MadeRun({**run("kl T=1", 0, 0.8).row, "status": "FAILED", "test/acc": None})]
    )
    assert section(found, grid(found.rows)) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1], "1"),
        ([1, 4.0], "1 and 4"),
        ([1, 2.5, 4], "1, 2.5 and 4"),
        (range(1, 10), "1 to 9 (9 values)"),
    ],
)
def test_values_are_listed_as_in_prose(values: Sequence[float], words: str) -> None:
    assert listed(values) == words
