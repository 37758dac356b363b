"""Ensembles: every term of the loss is averaged over several trained teachers."""

from pathlib import Path

import pytest
from commands import Command, Refusal, Specs
from outcomes import both, digests, interrupt, runs

from kdsweep.common.files import read_json
from kdsweep.training.partition import partition

ENSEMBLE = [
    "teacher=ensemble",
    *(f"teacher.members.{n}.{key}" for n in ("first", "second") for key in ("trainer.epochs=1",)),
    "teacher.members.first.model.width=4",
    "teacher.members.second.model.width=6",
]
LOSSES = "loss=kl,[kl,fitnet],[crd,mse]"


def stores(folder: Path) -> list[str]:
    return [f"teacher.members.{name}.store={folder}" for name in ("first", "second")]


@pytest.mark.slow
def test_lockstep_next_to_any_neighbour_gives_the_bits_of_a_run_alone(command: Command) -> None:
    together, alone = both(command, *ENSEMBLE, LOSSES)
    assert len(together) == 3
    assert together == alone
    (name,) = (name for name in together if name.startswith("fitnet+kl"))
    others = digests(command(*ENSEMBLE, "loss=ce,[kl,fitnet]"))
    assert others[name] == together[name]


@pytest.mark.slow
def test_each_member_is_kept_in_the_store_as_a_run_of_its_own(
    command: Command, tmp_path: Path
) -> None:
    outcome = command(*ENSEMBLE, *stores(tmp_path / "mine"), "T=1,4", tracking=True)
    assert outcome.code == 0, outcome.err
    assert len(runs(outcome)["teacher"]) == 2
    kept = [read_json(note) for note in (tmp_path / "mine").glob("*/result.json")]
    assert {(note["role"], note["status"]) for note in kept} == {("teacher", "FINISHED")}
    assert len({note["weights_sha256"] for note in kept}) == 2
    assert all(row["val/agreement"] is not None for row in outcome.rows)


@pytest.mark.slow
def test_an_interrupted_run_resumes_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*ENSEMBLE, LOSSES, "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    whole = digests(command(*words))
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        assert command(*words).code == 130
    assert digests(command(*words, "resume=true")) == whole


@pytest.mark.ci
def test_members_and_their_order_are_part_of_a_run(specs: Specs) -> None:
    runs = specs(*([*ENSEMBLE, f"teacher.members.first.seed={seed}"] for seed in (0, 1)))
    assert len({run.fingerprint for run in runs}) == 2
    assert len(partition([run.cohort_key for run in runs], None)) == 2


@pytest.mark.slow
def test_one_more_member_is_one_more_teacher(command: Command) -> None:
    more = ["+teacher@teacher.members.third=cnn", "teacher.members.third.trainer.epochs=1"]
    more += ["teacher.members.third.model.width=5", "trainer.epochs=1"]
    outcome = command(*ENSEMBLE, *more, "loss=fitnet")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["~teacher@teacher.members.first", "~teacher@teacher.members.second"],
            "teacher.members.second must be a model, got none",
        ),
        (
            ["teacher@teacher.members.second=none"],
            "teacher.members.second must be a model, got none",
        ),
        (
            ["teacher.members.second.model.width=0"],
            "teacher.members.second.model.width must be",
        ),
        (
            ["teacher.members.second.trainer.epochs=0"],
            "teacher.members.second.trainer.epochs must be at least 1, got 0",
        ),
        (
            ["teacher@teacher.members.second=deepnn", "loss=fitnet", "dry_run=true"],
            "loss.fitnet.pairs must name modules of teacher.members.second.model (",
        ),
        (
            ["teacher.members.first.features.hint=null", "loss=fitnet"],
            "teacher.members.first.features.hint must be given, got null",
        ),
        (
            ["+teacher.members.first.sedd=1"],
            "; did you mean teacher.members.first.seed?",
        ),
    ],
)
def test_bad_input(refusal: Refusal, words: list[str], sentence: str) -> None:
    assert sentence in refusal("teacher=ensemble", *words)
