"""`teacher=peers`: the peers of a run are one unit of its cohort, and runs of their own."""

from pathlib import Path

import pytest
from commands import Command, Outcome, Refusal
from mlflow import MlflowClient
from outcomes import both, digests, interrupt, parent_of, runs

from kdsweep.common.files import read_json

PEERS = ["teacher=peers", "teacher.store=own"]
THREE = [
    *PEERS,
    "+student@teacher.peers.second=mlp",
    "teacher.peers.second.model.width=6",
    "+teacher.peers.third={}",
]


def digests_of_peers(outcome: Outcome) -> dict[str, str]:
    """Name of every peer of the sweep -> digest of its weights."""
    notes = [read_json(note) for note in outcome.sweep.glob("*/peers/*/result.json")]
    return {note["name"]: note["weights_sha256"] for note in notes}


@pytest.mark.parametrize(
    "words",
    [
        [*THREE, "loss=kl,[kl,fitnet]"],
        [*PEERS, "T=1,4", "student.model.dropout=0.5", "trainer.precision=bf16"],
    ],
)
@pytest.mark.slow
def test_lockstep_gives_the_bits_of_separate_runs(command: Command, words: list[str]) -> None:
    together, alone = both(command, *words)
    assert len(together) == 2
    assert together == alone


@pytest.mark.slow
def test_no_teacher_is_trained_and_lockstep_gives_the_bits_of_separate_runs(
    command: Command,
) -> None:
    together, alone = both(command, *PEERS, "T=1,4")
    assert len(together) == 2
    assert together == alone
    assert not Path("own").exists(), "a teacher was trained"


@pytest.mark.slow
def test_any_neighbour_leaves_the_bits_of_all_peers(command: Command) -> None:
    one = command(*PEERS, "T=4,1")
    other = command(*PEERS, "T=16,4", "alpha=0.5,0.9")
    name = "kl T=4 alpha=0.5 seed=0"
    assert digests(one)[name] == digests(other)[name]
    peer = "kl T=4 alpha=0.5 peer=second seed=0"
    assert digests_of_peers(one)[peer] == digests_of_peers(other)[peer] != digests(one)[name]


@pytest.mark.slow
def test_every_other_peer_is_a_run_of_its_own_next_to_the_run(command: Command) -> None:
    outcome = command(*THREE, tracking=True)
    assert outcome.code == 0, outcome.err
    found = runs(outcome)
    assert {role: len(them) for role, them in found.items()} == {"sweep": 1, "run": 1, "peer": 2}
    (parent,) = found["sweep"]
    assert {parent_of(run) for run in [*found["run"], *found["peer"]]} == {parent.info.run_id}
    assert {run.info.status for run in found["peer"]} == {"FINISHED"}
    assert {run.info.run_name for run in found["peer"]} == {
        f"kl T=4 alpha=0.5 peer={name} seed=0" for name in ("second", "third")
    }
    assert {"train/kl", "val/acc", "test/acc"} <= set(found["peer"][0].data.metrics)
    assert "val/agreement" not in found["peer"][0].data.metrics
    files = {path.name for path in (outcome.sweep / "0/peers/third").iterdir()}
    assert {"result.json", "metrics.jsonl", "config.yaml", "checkpoint", "train.log"} <= files
    assert [row["role"] for row in outcome.rows] == ["run"], "peers are no cells of the sweep"


@pytest.mark.slow
def test_an_interrupted_unit_resumes_with_the_same_bits(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*PEERS, "T=1,4", "trainer.epochs=3", "tracking.checkpoint_seconds=0"]
    uninterrupted = command(*words)
    whole = digests(uninterrupted), digests_of_peers(uninterrupted)
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=2, seed=0)
        stopped = command(*words, tracking=True)
    assert stopped.code == 130
    assert {run.info.status for run in runs(stopped)["peer"]} == {"KILLED"}
    resumed = command(*words, "resume=true", tracking=True)
    assert (digests(resumed), digests_of_peers(resumed)) == whole
    found = runs(resumed)
    client = MlflowClient(tracking_uri=f"sqlite:///{resumed.folder}/mlflow.db")
    for run in [*found["run"], *found["peer"]]:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/acc")]
        assert steps == [0, 1, 2]
    assert len(found["peer"]) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=ce"], "loss must have a term that needs a teacher with teacher.peers, got ce"),
        (
            ["+student@teacher.peers.second=mlp", "teacher.peers.second.model.width=0"],
            "teacher.peers.second.model.width must be",
        ),
        (
            ["+teacher.peers.second.sedd=1"],
            "teacher.peers.second.sedd must be a key of",
        ),
        (
            ["+teacher.peers.student={}"],
            "teacher.peers must not be called student, which is the run's own",
        ),
        (["teacher.peers.second.checkpoint=no.pt"], "teacher.peers.second.checkpoint must be a"),
        (
            ["+teacher@teacher.members.first=cnn"],
            "teacher.peers must be empty with teacher.members, got both",
        ),
    ],
)
def test_bad_input(refusal: Refusal, words: list[str], sentence: str) -> None:
    assert sentence in refusal("teacher=peers", *words)


def test_peers_teach_no_assistant(refusal: Refusal) -> None:
    text = refusal("teacher=assistant", "teacher@teacher.teacher=peers")
    assert "teacher.teacher.peers must be empty below the root" in text
