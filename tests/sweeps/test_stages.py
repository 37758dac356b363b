"""Stages: what a student learns before its run, as a run of its own that others may share."""

from pathlib import Path

import pytest
from commands import Command, Outcome, Refusal
from outcomes import both, digests, interrupt, one_by_one, parent_of, runs
from safetensors.torch import load_file

from kdsweep.cli import CONF
from kdsweep.common.files import read_json

SHORT = {
    "hints": ["stages.hints.epochs=1"],
    "boundaries": ["stages.boundaries.epochs=1"],
    "flow": ["stages.flow.epochs=1"],
    "factors": ["stages.factors.epochs=1"],
    "blocks": [f"stages.block_{number}.epochs=1" for number in (1, 2, 3)],
}
HINTS = ["stages=hints", "stages.hints.epochs=1", "student=cnn", "student.model.width=4"]


def stages(outcome: Outcome) -> list[Path]:
    return sorted(note.parent for note in outcome.sweep.glob("stage-*/run.json"))


def weights(folder: Path) -> dict[str, object]:
    return dict(load_file(folder / "checkpoint" / "model.safetensors"))


@pytest.mark.parametrize(
    "words",
    [
        ["loss=ce,kl", "student.model.dropout=0.5"],
        ["stages=hints,[hints,flow]"],
    ],
)
@pytest.mark.slow
def test_lockstep_gives_the_bits_of_separate_runs(command: Command, words: list[str]) -> None:
    together, alone = both(command, *HINTS, *words)
    assert len(together) == 2
    assert together == alone


@pytest.fixture(scope="module")
def shared(trained: Command) -> Outcome:
    """Two runs that begin with one stage, in MLflow."""
    return trained(*HINTS, "T=1,4", tracking=True)


@pytest.mark.slow
def test_runs_that_share_a_stage_have_the_bits_of_separate_runs(
    command: Command, shared: Outcome
) -> None:
    together = digests(shared)
    assert len(together) == 2
    assert digests(one_by_one(command, *HINTS, "T=1,4")) == together


def test_runs_with_the_same_stage_share_it_as_a_run_of_the_sweep(shared: Outcome) -> None:
    outcome = shared
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    assert {role: len(them) for role, them in found.items()} == {
        **{"sweep": 1, "stage": 1, "run": 2},
        **({"teacher": 1} if "teacher" in found else {}),  # where this test is the first to need it
    }
    (stage,), (parent,) = found["stage"], found["sweep"]
    assert stage.info.run_name == "stage hints fitnet seed=0"
    assert parent_of(stage) == parent.info.run_id
    assert len(stages(outcome)) == 1
    assert len(outcome.rows) == 2


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_its_stage(command: Command) -> None:
    # A run that hardly learns is where its stage has left it.
    still = ["schedule=constant", "optimizer=sgd", "optimizer.lr=1e-12", "student=mlp"]
    moved = ["stages.hints.loss.fitnet.pairs=[[hidden2,pool]]", "stages.hints.optimizer.lr=0.1"]
    sgd = ["+optimizer@stages.hints.optimizer=sgd"]
    outcome = command(*HINTS, *still, *sgd, *moved, "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    (stage,) = stages(outcome)
    before, after = weights(stage), weights(outcome.sweep / "0")
    assert before.keys() == after.keys()
    assert all(
        abs(before[key] - after[key]).max() < 1e-6  # type: ignore[operator]
        for key in before
    )
    alone = command(*still, "trainer.epochs=1", "loss=ce")
    other = weights(alone.sweep / "0")
    assert any(abs(before[key] - other[key]).max() > 1e-3 for key in before)  # type: ignore[operator]


@pytest.mark.ci
def test_stages_follow_each_other(command: Command) -> None:
    second = ["+stages.more.epochs=1", "+loss@stages.more.loss=at"]
    outcome = command(*HINTS, *second, "stages.more.loss.at.pairs=[[stage2,stage2]]")
    assert outcome.code == 0, outcome.err
    names = {read_json(folder / "run.json")["name"] for folder in stages(outcome)}
    assert names == {"stage hints fitnet seed=0", "stage more at seed=0"}


@pytest.mark.ci
def test_a_stage_that_diverges_fails_the_runs_that_begin_with_it(command: Command) -> None:
    wild = ["+optimizer@stages.hints.optimizer=sgd", "stages.hints.optimizer.lr=1e12"]
    outcome = command(*HINTS, *wild, "stages.hints.epochs=2", "T=1,4")
    assert outcome.code == 1
    assert {row["status"] for row in outcome.rows} == {"FAILED"}
    assert all("its stage hints fitnet: non-finite" in row["reason"] for row in outcome.rows)


FACTORS = [*HINTS[2:], "stages=factors", "stages.factors.epochs=1", "loss=ft"]


@pytest.mark.slow
def test_what_a_stage_has_learned_in_addition_to_the_student_reaches_the_run(
    command: Command,
) -> None:
    outcome = command(*FACTORS, "loss.ft.learns=translator", "tracking.checkpoint_seconds=0")
    assert outcome.code == 0, outcome.err
    (stage,) = stages(outcome)
    learned = load_file(stage / "checkpoint" / "terms.safetensors")
    assert {key.split(".")[4] for key in learned} == {"translator", "encoder", "decoder"}
    assert not (outcome.sweep / "0" / "checkpoint" / "terms.safetensors").exists()
    before, digest = weights(stage), outcome.rows[0]["weights_sha256"]
    other = command(
        *FACTORS, "loss.ft.learns=translator", "+optimizer@stages.factors.optimizer=sgd"
    )
    # The student waits in either stage: only what the paraphraser has learned sets the runs apart.
    after = weights(stages(other)[0])
    assert all((before[key] == after[key]).all() for key in before)  # type: ignore[attr-defined]
    assert other.rows[0]["weights_sha256"] != digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "number"), [(name, 3 if name == "blocks" else 1) for name in SHORT]
)
def test_every_option_trains_its_stages(command: Command, option: str, number: int) -> None:
    words = ["student=cnn", "student.model.width=4", "dataset.source.shape=[3,16,16]"]
    message = [f"stages={option}", *words, "trainer.epochs=1", "loss=ce", *SHORT[option]]
    outcome = command(*message)
    assert outcome.code == 0, outcome.err
    assert len(stages(outcome)) == number
    swept = command(*message, "student.model.dropout=0,0.5")
    first, second = (row["weights_sha256"] for row in swept.rows)
    assert first == outcome.rows[0]["weights_sha256"]
    assert second != first


def test_no_option_is_overlooked() -> None:
    assert sorted([*SHORT, "none"]) == sorted(
        path.stem for path in (CONF / "stages").glob("*.yaml")
    )


@pytest.mark.slow
def test_an_interrupted_stage_resumes_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*HINTS, "stages.hints.epochs=3", "T=1,4", "tracking.checkpoint_seconds=0"]
    whole = digests(command(*words))
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        assert command(*words).code == 130
    assert digests(command(*words, "resume=true")) == whole


@pytest.mark.slow
def test_a_search_shares_a_stage_too(command: Command) -> None:
    search = ["search=bayes", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3"]
    outcome = command(*HINTS, *search, "search.finalists=0")
    assert outcome.code == 0, outcome.err
    assert len(stages(outcome)) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["stages.hints.epochs=0"], "stages.hints.epochs must be at least 1, got 0"),
        (["stages.hints.hard_weight=-1"], "stages.hints.hard_weight must be null or a finite"),
        (["+stages.more.loss={}"], "stages.more.epochs must be given"),
        (["+stages.more=5"], "stages.more must be a mapping of options, got 5"),
        (["+stages.more=null"], "stages.more must be a mapping of options, got null"),
        (["+stages.hints.epoch=3"], "stages.hints.epoch must be a key of stages.hints (epochs,"),
        (["stages.hints.loss.fitnet.weight=-1"], "stages.hints.loss.fitnet.weight must be a"),
        (["teacher=peers"], "stages must be empty with teacher.peers, got hints"),
        (["teacher.online=true"], "stages must be empty with teacher.online, got hints"),
        (["teacher=none", "loss=ce"], "teacher must be a model, got none"),
        (
            ["loss=ft", "loss.ft.learns=translator"],
            "loss.ft must begin with a stage that has it among its loss terms, as the last of the"
            " stages, got stages hints",
        ),
        (
            ["stages.hints.loss.fitnet.pairs=[[layer9,stage1]]"],
            "stages.hints.loss.fitnet.pairs must name modules of student.model (",
        ),
    ],
)
def test_bad_input(refusal: Refusal, words: list[str], sentence: str) -> None:
    assert sentence in refusal(*HINTS, *words)


@pytest.mark.slow
def test_a_stage_that_diverged_is_not_trained_again_by_a_later_block(command: Command) -> None:
    wild = ["+optimizer@stages.hints.optimizer=sgd", "stages.hints.optimizer.lr=1e12"]
    search = ["search=bayes", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    words = [
        *HINTS,
        *wild,
        *search,
        "search.finalists=0",
        "trainer.epochs=1",
    ]
    outcome = command(*words)
    assert outcome.err.count("stage hints fitnet: trained first") == 1
    reasons = [row["reason"] for row in outcome.rows]
    assert len(reasons) == 2
    assert all("its stage hints fitnet: non-finite" in reason for reason in reasons)


@pytest.mark.slow
def test_results_name_the_teacher_of_a_stage(command: Command) -> None:
    outcome = command(*HINTS, "loss=ce", "trainer.epochs=1", tracking=True)
    assert outcome.code == 0, outcome.err
    assert [row["teacher"] for row in outcome.rows] == ["cnn"]
    (run,) = runs(outcome)["run"]
    assert run.data.params["teacher"] == "cnn"
    plain = command("loss=ce", "trainer.epochs=1")
    assert [row["teacher"] for row in plain.rows] == [None]
