"""A sweep that an earlier version of kdsweep began, and was killed in, is finished by this one."""

import shutil
from pathlib import Path

import pytest
from commands import Command

from kdsweep.common.files import read_json
from kdsweep.tracking.run_dir import read_rows

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
