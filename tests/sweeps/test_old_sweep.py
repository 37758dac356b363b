"""A sweep that an earlier version of kdsweep began, and was killed in.

A version that computes the same numbers finishes it, whatever the form of its files. One that
computes others leaves it alone and states why. `make_old_sweep.py` makes the files anew, which is
right only together with a new `NUMERICS`.
"""

import hashlib
import shutil
from pathlib import Path

import pytest
from commands import Check, Command

from kdsweep.common.files import read_json
from kdsweep.tracking.run_dir import read_rows

NUMERICS = 5  # of the version that began it
# `kill -9` in its second cohort: runs 0 and 2 are finished, 1 and 3 have checkpoints of epoch 3.
OLD = Path(__file__).parent / "old_sweep"
WORDS = [
    *["-m", "loss=kl", "T=1,4", "seed=0,1", "dataset=fake", "dataset.source.shape=[1,8,8]"],
    *["dataset.source.num_train=160", "dataset.source.num_test=40", "trainer.epochs=12"],
    *["trainer.batch_size=32", "trainer.device=cpu", "student.model.width=4"],
    *["teacher.model.width=4", "teacher.trainer.epochs=1", "teacher.trainer.device=cpu"],
    *["tracking=none", "tracking.checkpoint_seconds=0", "hydra.sweep.dir=multirun/old"],
]


@pytest.fixture
def old(command: Command, tmp_path: Path) -> Path:
    shutil.copytree(OLD / "runs", tmp_path / "multirun" / "old")
    shutil.copytree(OLD / "store", tmp_path / "teachers")
    return tmp_path


@pytest.fixture
def same_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    """This version computes the numbers of the one that began the sweep."""
    compute_numbers_of(NUMERICS, monkeypatch)


@pytest.fixture
def other_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    """This version computes other numbers than the one that began the sweep."""
    compute_numbers_of(NUMERICS + 1, monkeypatch)


def compute_numbers_of(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("runs.fingerprint", "sweeps.other_numerics", "sweeps.record"):
        monkeypatch.setattr(f"kdsweep.{module}.NUMERICS", version)


def contents(folder: Path) -> dict[Path, str]:
    """Every file of the old sweep and its teacher, by a digest."""
    files = (path for below in ("multirun/old", "teachers") for path in (folder / below).rglob("*"))
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


@pytest.mark.ci
@pytest.mark.usefixtures("same_numerics")
def test_an_old_sweep_is_resumed(command: Command, old: Path) -> None:
    sweep, (teacher,) = old / "multirun" / "old", (old / "teachers").glob("*/result.json")
    kept = {path: path.read_bytes() for path in (sweep / "0/result.json", teacher)}
    outcome = command(*WORDS, "resume=true", tiny=False)
    assert outcome.code == 0, outcome.err
    assert {path: path.read_bytes() for path in kept} == kept  # neither run nor teacher again
    for number in range(4):
        rows = read_rows(sweep / str(number))
        assert [row["epoch"] for row in rows] == [*range(12), 11]
        assert read_json(sweep / f"{number}/result.json")["status"] == "FINISHED"
    # Three epochs were trained by the earlier version, and are not trained again.
    for number in ("1", "3"):
        before, after = (
            (runs / number / "metrics.jsonl").read_text().splitlines()
            for runs in (OLD / "runs", sweep)
        )
        assert after[:3] == before[:3]
    assert "trained again" not in outcome.out + outcome.err
    assert (sweep / "report.html").is_file()
    assert "T=4" in (sweep / "report.md").read_text()


@pytest.mark.ci
@pytest.mark.usefixtures("other_numerics")
@pytest.mark.parametrize("launcher", ["lockstep", "basic"])
def test_an_old_sweep_of_other_numbers_is_refused_in_its_folder(
    command: Command, old: Path, launcher: str
) -> None:
    before = contents(old)
    outcome = command(*WORDS, "resume=true", f"hydra/launcher={launcher}", tiny=False)
    assert outcome.code == 1
    assert (
        "got multirun/old, which holds runs of a version of kdsweep that computes other numbers"
    ) in outcome.err
    assert contents(old) == before


@pytest.mark.usefixtures("other_numerics")
def test_an_old_teacher_of_other_numbers_can_be_given(check: Check) -> None:
    (teacher,) = (OLD / "store").iterdir()
    check("loss=kl", f"teacher.checkpoint={teacher}")


@pytest.mark.ci
@pytest.mark.usefixtures("other_numerics")
@pytest.mark.parametrize("plans", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_old_sweep_of_other_numbers_is_named_by_the_one_that_starts_afresh(
    command: Command, old: Path, plans: bool
) -> None:
    before = contents(old)
    words = [word for word in WORDS if not word.startswith("hydra.sweep.dir=")]
    outcome = command(*words, "resume=true", f"dry_run={str(plans).lower()}", tiny=False)
    assert outcome.code == 0, outcome.err
    assert (
        "resume: multirun/old is of a version of kdsweep that computes other numbers, this one"
        " starts afresh"
    ) in outcome.out + outcome.err
    assert before.items() <= contents(old).items()
    if not plans:  # the old teacher stays, and a new one is trained
        assert len([*(old / "teachers").glob("*/result.json")]) == 2
        assert [row["status"] for row in outcome.rows] == ["FINISHED"] * 4
