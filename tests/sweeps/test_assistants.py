"""Assistants (TAKD) and born-again generations: a teacher's recipe names a teacher."""

from pathlib import Path

import pytest
from commands import Command, Refusal
from outcomes import both, digests, interrupt, parent_of, runs

from kdsweep.common.files import read_json

QUICK = ["teacher.trainer.epochs=1", "teacher.teacher.trainer.epochs=1"]
ASSISTANT = ["teacher=assistant", *QUICK, "teacher.model.width=4", "teacher.teacher.model.width=6"]
CHAIN = [
    *ASSISTANT,
    "teacher@teacher.teacher=assistant",
    "teacher.teacher.teacher.trainer.epochs=1",
    "teacher.teacher.teacher.model.width=8",
]
AGAIN = ["teacher=next_generation", "trainer.epochs=1"]


def stores(folder: Path) -> list[str]:
    """Every recipe of a chain keeps its network in the store of its own."""
    return [f"{'teacher.' * depth}store={folder}" for depth in (1, 2)]


def kept_in(store: Path) -> dict[str, str]:
    """Fingerprint of a teacher -> digest of its weights."""
    notes = store.glob("*/result.json")
    return {note.parent.name: read_json(note)["weights_sha256"] for note in notes}


@pytest.mark.slow
@pytest.mark.parametrize("words", [CHAIN, AGAIN])
def test_lockstep_next_to_any_neighbour_gives_the_bits_of_a_run_alone(
    command: Command, words: list[str]
) -> None:
    together, alone = both(command, *words, "T=1,4")
    assert len(together) == 2
    assert together == alone
    others = digests(command(*words, "T=4,16", "alpha=0.9,0.5"))
    assert others["kl T=4 alpha=0.5 seed=0"] == together["kl T=4 alpha=0.5 seed=0"]


@pytest.mark.slow
def test_a_chain_is_one_command_and_logs_every_link_in_one_parent(
    command: Command, tmp_path: Path
) -> None:
    words = [*CHAIN, *stores(tmp_path / "mine"), f"teacher.teacher.teacher.store={tmp_path}/mine"]
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    (parent,) = found["sweep"]
    below = [*found["run"], *found["assistant"], *found["teacher"]]
    assert {parent_of(run) for run in below} == {parent.info.run_id}
    assert {run.info.run_name for run in found["assistant"]} == {"assistant assistant fake"}
    assert [len(found[role]) for role in ("run", "assistant", "teacher")] == [1, 2, 1]
    assert {run.info.status for run in [parent, *below]} == {"FINISHED"}
    objectives = {
        read_json(note)["role"]: (note.parent / "train.log").read_text()
        for note in (tmp_path / "mine").glob("*/run.json")
    }
    assert "objective: 0.5 ce + 0.5 kl" in objectives["assistant"]
    assert "objective: 1 ce" in objectives["teacher"]


@pytest.mark.slow
def test_a_plain_teacher_stays_outside_of_the_sweep_that_trains_it(
    command: Command, own_teachers: str
) -> None:
    (teacher,) = runs(command("T=1,4", own_teachers, tracking=True))["teacher"]
    assert parent_of(teacher) is None


@pytest.mark.slow
def test_an_interrupted_assistant_resumes_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [*ASSISTANT, "teacher.trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    whole = digests(command(*words, *stores(tmp_path / "whole")))
    mine = [*words, *stores(tmp_path / "mine")]
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        assert command(*mine).code == 130
    assert digests(command(*mine, "resume=true")) == whole
    kept = kept_in(tmp_path / "whole")
    assert kept_in(tmp_path / "mine") == kept
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["teacher.alpha=2"], "teacher.alpha must be a number in [0, 1], got 2"),
        (["+teacher.teacher.T=0"], "teacher.teacher.T must be a number from 1e-6 to 1e6, got 0"),
        (["teacher.teacher.model=null"], "teacher.teacher must be a model for these loss terms"),
        (["teacher.loss.kl.T=-1"], "teacher.loss.kl.T must be a number from 1e-6 to 1e6, got -1"),
        (
            ["teacher.loss.kl.T=${warm}"],
            "teacher.loss.kl.T must refer to a key, got ${warm}",
        ),
        (["teacher.teacher.trainer.epochs=0"], "teacher.teacher.trainer.epochs must be at least 1"),
        (
            ["teacher.teacher.trainer.epochs=ten"],
            "teacher.teacher.trainer.epochs must be an integer, got ten",
        ),
        (
            ["+teacher.teacher.sedd=1"],
            "; did you mean teacher.teacher.seed?",
        ),
        (["teacher.teacher.model.width=0"], "teacher.teacher.model.width must be"),
        (["teacher.teacher.checkpoint=no.pt"], "teacher.teacher.checkpoint must be a file of"),
        (["teacher.teacher.trainer.batch_size=5000"], "teacher.teacher.trainer.batch_size must be"),
        (
            ["loss@teacher.loss=fitnet", "teacher.loss.fitnet.pairs=[[nope,pool]]"],
            "teacher.loss.fitnet.pairs must name modules of teacher.model (",
        ),
    ],
)
def test_bad_input_is_named_with_the_key_of_its_recipe(
    refusal: Refusal, words: list[str], sentence: str
) -> None:
    assert sentence in refusal("teacher=assistant", *words)


@pytest.mark.slow
def test_pairs_of_a_recipe_are_those_of_its_own_networks(command: Command) -> None:
    words = ["loss@teacher.loss=at", "teacher.loss.at.pairs=${pairs:last_map}", "student=mlp"]
    outcome = command(*ASSISTANT, *words, "dry_run=true")
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_other_terms_of_an_assistant_are_another_run(command: Command) -> None:
    outcome = command(*ASSISTANT, "teacher.T=1,4", "dry_run=true")
    assert outcome.code == 0, outcome.err
    assert "2 runs in 2 cohorts" in outcome.out


def test_an_override_of_a_generation_leaves_the_student_as_it_is(command: Command) -> None:
    outcome = command(*AGAIN, "teacher.model.width=4")
    assert outcome.code == 1
    assert "Cannot set 'teacher.model.width' because 'teacher.model' is None" in outcome.err
