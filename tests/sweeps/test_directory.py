"""Whose a folder is: no run takes what another one has left, and damaged notes stop nothing."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Outcome, Specs, copy_of

from kdsweep.common.files import drop_drafts, read_json, write_json_atomic
from kdsweep.common.processes import new_lease
from kdsweep.data.fake import Fake
from kdsweep.errors import UserError
from kdsweep.sweeps.directory import holds_runs, may_be_training, refuse_another

MINE = "hydra.sweep.dir=mine"


def slow(value: str) -> Any:
    """A case that another one stands for in the fast tier."""
    return pytest.param(value, marks=pytest.mark.slow)


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, by a digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def weights(outcome: Outcome, folder: str = "mine") -> dict[str, str]:
    """cell -> digest of the weights, of a sweep's folder."""
    paths = (outcome.folder / folder).glob("*/result.json")
    return {note["cell"]: note["weights_sha256"] for note in map(read_json, paths)}


@pytest.fixture
def mine(trained: Command, tmp_path: Path) -> Outcome:
    """A finished sweep of T=1,4 in the folder of `command`."""
    return copy_of(trained("T=1,4", MINE), tmp_path)


@pytest.fixture
def single(trained: Command, tmp_path: Path) -> Outcome:
    """A finished run of T=1 in the folder of `command`."""
    return copy_of(trained("T=1", MINE), tmp_path)


OTHERS = ["T=8,1,4", "T=1,4,8", "T=1", "T=1,4 trainer.epochs=3"]


@pytest.mark.parametrize(
    ("launcher", "others"),
    [
        ("lockstep", OTHERS[0]),
        *(pytest.param("lockstep", others, marks=pytest.mark.slow) for others in OTHERS[1:]),
        *(pytest.param("basic", others, marks=pytest.mark.slow) for others in OTHERS),
    ],
)
def test_a_folder_of_another_sweep_is_refused_and_left_as_it_was(
    command: Command, trained: Command, tmp_path: Path, launcher: str, others: str
) -> None:
    words = [MINE, *([] if launcher == "lockstep" else [f"hydra/launcher={launcher}"])]
    first = copy_of(trained("T=1,4", *words), tmp_path)
    assert first.code == 0, first.err
    before = contents(first.folder / "mine")
    again = command(*others.split(), *words, "resume=true")
    assert again.code == 1
    assert "hydra.sweep.dir must be a" in again.err
    assert "mine, which holds" in again.err
    assert "Traceback" not in again.err
    assert "43." not in again.out, "no table of the old numbers"
    assert contents(first.folder / "mine") == before


@pytest.mark.parametrize(
    ("jobs", "sentence"),
    [
        ([["T=8"], ["T=1"], ["T=4"]], "holds another run 0 than kl T=8 alpha=0.5 seed=0"),
        ([["T=1"], ["T=4"], ["T=8"]], "holds a sweep of 2 runs, not of 3"),
        ([["T=1"]], "holds a sweep of 2 runs, not of 1"),
        ([[T, "trainer.epochs=3"] for T in ("T=1", "T=4")], "holds another run 0 than kl T=1"),
    ],
)
def test_a_folder_holds_these_very_runs_or_is_refused(
    mine: Outcome, specs: Specs, jobs: list[list[str]], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        refuse_another(mine.folder / "mine", specs(*jobs), whole=True)
    assert f"mine, which {sentence}" in str(refused.value)


def test_an_unfinished_sweep_is_refused_to_another_one(mine: Outcome, specs: Specs) -> None:
    for run in (0, 1):
        (mine.folder / "mine" / str(run) / "result.json").unlink()
    with pytest.raises(UserError, match="holds another run 0 than kl T=2 "):
        refuse_another(mine.folder / "mine", specs(["T=2"], ["T=8"]), whole=True)


@pytest.mark.ci
def test_the_same_runs_resume_in_a_folder_whatever_they_are_written_like(
    command: Command, mine: Outcome
) -> None:
    before = weights(mine)
    shutil.rmtree(mine.folder / "mine" / "1")
    again = command("T=1.0,4e0", MINE, "resume=true")
    assert again.code == 0, again.err
    assert "resume: continues in mine" in again.err
    assert weights(again) == before


def test_a_dry_run_does_not_count_the_runs_of_another_sweep(
    command: Command, single: Outcome
) -> None:
    before = contents(single.folder / "mine")
    planned = command("T=8", MINE, "resume=true", "dry_run=true")
    assert planned.code == 1
    assert "which holds another run 0 than kl T=8" in planned.err
    assert contents(single.folder / "mine") == before


@pytest.fixture(params=["run", "search"])
def of_another_kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What the folder `mine` holds instead of a sweep."""
    mine = tmp_path / "mine"
    mine.mkdir()
    if request.param == "run":
        write_json_atomic(mine / "run.json", {"name": "kl", "fingerprint": "1", "params": {}})
    else:
        note = {"name": "bayes", "created": 1.0, "role": "search", "fingerprints": {}}
        write_json_atomic(mine / "sweep.json", note)
    return str(request.param)


def test_a_folder_of_another_kind_is_refused(
    of_another_kind: str, tmp_path: Path, specs: Specs
) -> None:
    assert holds_runs(tmp_path / "mine")
    with pytest.raises(UserError, match=f"mine, which holds a {of_another_kind}"):
        refuse_another(tmp_path / "mine", specs(["T=1"]), whole=True)


@pytest.mark.slow
def test_a_folder_of_another_kind_is_left_as_it_was(command: Command, of_another_kind: str) -> None:
    before = contents(Path("mine"))
    outcome = command("T=1", MINE, "resume=true")
    assert outcome.code == 1
    assert f"got mine, which holds a {of_another_kind}" in outcome.err
    assert contents(Path("mine")) == before


HARM = {
    "empty": b"",
    "cut": b'{"name": "T=1,4", "crea',
    "binary": b"\xff\xfe\x00\x80",
    "list": b"[1, 2]",
    "foreign": b'{"version": 3}',
    "of other types": b'{"name": 3, "created": "now", "status": 1, "params": []}',
}


@pytest.mark.ci
@pytest.mark.parametrize("harm", [h if h == "foreign" else slow(h) for h in HARM])
def test_damaged_notes_stop_no_sweep(
    command: Command, trained: Command, tmp_path: Path, harm: str
) -> None:
    first = copy_of(trained("T=1,4", MINE), tmp_path)
    before = weights(first)
    mine = first.folder / "mine"
    elsewhere = first.folder / "multirun" / "deep" / "down" / "sweep.json"
    elsewhere.parent.mkdir(parents=True)
    for note in (mine / "sweep.json", mine / "0" / "result.json", mine / "1" / "run.json"):
        note.write_bytes(HARM[harm])
    elsewhere.write_bytes(HARM[harm])
    again = command("T=1,4", MINE, "resume=true")
    assert again.code == 0, again.err
    for note in ("mine/sweep.json", "mine/0/result.json", "mine/1/run.json"):
        assert f"{note} is passed over: it " in again.out
    assert weights(again) == before
    assert read_json(mine / "sweep.json")["fingerprints"].keys() == {"0", "1"}
    found = command("T=1,4", "resume=true", "dry_run=true")
    assert found.code == 0, found.err
    assert "multirun/deep/down/sweep.json is passed over" in found.out


@pytest.mark.ci
@pytest.mark.parametrize(
    "harm", ["other weights", *map(slow, ("weights", "result", "other result"))]
)
def test_a_damaged_teacher_is_trained_again(
    command: Command, trained: Command, tmp_path: Path, harm: str
) -> None:
    words = ["T=1", "teacher.store=own"]
    first = copy_of(trained(*words), tmp_path)
    (teacher,) = (path for path in (tmp_path / "own").iterdir() if path.is_dir())
    weights_of, result = teacher / "checkpoint" / "model.safetensors", teacher / "result.json"
    whole = read_json(result)["weights_sha256"]
    if harm == "weights":
        os.truncate(weights_of, 100)
    elif harm == "other weights":
        damaged = bytearray(weights_of.read_bytes())
        damaged[-1] ^= 1
        weights_of.write_bytes(damaged)
    elif harm == "result":
        result.write_bytes(b"")
    else:
        write_json_atomic(result, read_json(result) | {"fingerprint": "that of another"})
    again = command(*words)
    assert again.code == 0, again.err
    assert "teacher cnn fake: trained again" in again.err
    assert read_json(result)["weights_sha256"] == whole
    assert [row["weights_sha256"] for row in again.rows] == [
        row["weights_sha256"] for row in first.rows
    ]


def test_a_pid_that_another_program_has_is_no_sweep_being_trained(
    command: Command, single: Outcome
) -> None:
    mine = single.folder / "mine"
    (mine / "0" / "result.json").unlink()
    note = read_json(mine / "sweep.json") | new_lease() | {"ended": False}
    note |= {"pid": os.getppid(), "born": "1"}
    write_json_atomic(mine / "sweep.json", note)
    assert not may_be_training(note)
    elsewhere = note | {"pids": "pid:[1]", "boot": "another"}  # of a container, say
    assert may_be_training(elsewhere | {"beat": time.time()})
    assert not may_be_training(elsewhere | {"beat": 0.0})  # this host has started since
    again = command("T=1", MINE, "resume=true")
    assert again.code == 0, again.err


def test_what_a_killed_process_was_writing_is_swept(command: Command, single: Outcome) -> None:
    mine = single.folder / "mine"
    (mine / "0" / "result.json").unlink()
    drafts = [
        mine / ".sweep.json.123.456",
        mine / "answers" / ".0123.safetensors.123.456",
        mine / "0" / ".run.json.1.2",
        mine / "0" / "checkpoint" / f".epoch-0001.safetensors.{'a' * 32}",
    ]
    for draft in drafts:
        draft.write_text("half of a file")
    (mine / ".notes.of.the.user").write_text("stay")
    assert command("T=1", MINE, "resume=true").code == 0
    assert not any(draft.exists() for draft in drafts)
    assert (mine / ".notes.of.the.user").exists()


def test_a_young_draft_in_a_shared_folder_stays(tmp_path: Path) -> None:
    draft = tmp_path / ".sweep.json.1.2"
    draft.touch()
    drop_drafts(tmp_path, older_than=60.0)
    assert draft.exists()
    os.utime(draft, (0, 0))
    drop_drafts(tmp_path, older_than=60.0)
    assert not draft.exists()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("hydra.run.dir=there", []),
        pytest.param("hydra.run.dir=there", ["search=bayes"], marks=pytest.mark.slow),
        ("hydra.sweep.subdir=there", ["search=bayes"]),
        ("hydra.sweep.subdir=there", ["hydra/launcher=basic"]),
    ],
)
def test_a_folder_that_nothing_would_be_written_to_is_refused(
    command: Command, word: str, words: list[str]
) -> None:
    outcome = command("T=1,4", word, *words)
    assert outcome.code == 1
    assert f"{word.partition('=')[0]} must be left out, got there" in outcome.err
    assert not list(outcome.folder.iterdir())


def test_other_data_below_the_same_root_is_another_sweep(
    single: Outcome, specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_another(single.folder / "mine", specs(["T=1"]), whole=True)
    monkeypatch.setattr(Fake, "digest", lambda self: "of other images")
    with pytest.raises(UserError, match="which holds another run 0"):
        refuse_another(single.folder / "mine", specs(["T=1"]), whole=True)
