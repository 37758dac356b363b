"""The best run of a sweep or a search, by validation alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from kdsweep.errors import UserError
from kdsweep.tracking.best_run import best_run, only_run
from kdsweep.tracking.run_dir import RESULT


def run(folder: Path, **result: Any) -> None:
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(json.dumps({"status": "FINISHED", "test/acc": 0.5, **result}))


def test_ties_are_decided_by_the_validation_loss_and_duplicates_by_their_first(
    tmp_path: Path,
) -> None:
    run(tmp_path / "0", **{"val/acc": 0.5, "val/loss": 1.0, "test/acc": 0.9})
    run(tmp_path / "1", **{"val/acc": 0.5, "val/loss": 0.5})
    run(tmp_path / "2", **{"val/acc": 0.9, "val/loss": 0.1, "status": "FAILED"})
    folder, row = best_run(tmp_path, "KEY")
    assert (folder, row["val/loss"]) == (tmp_path / "1", 0.5)
    run(tmp_path / "3", **{"val/acc": 0.6, "same_as": "1"})
    assert best_run(tmp_path, "KEY")[0] == tmp_path / "1"


def test_the_runs_of_a_search_are_those_of_its_trials(tmp_path: Path) -> None:
    for trial, seed, accuracy in ((0, 0, 0.5), (0, 1, 0.7), (1, 0, 0.6)):
        run(tmp_path / str(trial) / f"seed-{seed}", **{"val/acc": accuracy})
    assert best_run(tmp_path, "KEY")[0] == tmp_path / "0" / "seed-1"


def test_the_only_run_of_a_sweep(tmp_path: Path) -> None:
    run(tmp_path / "0")
    run(tmp_path / "1", same_as="0")
    assert only_run(tmp_path, "KEY") == tmp_path / "0"
    run(tmp_path / "2")
    with pytest.raises(
        UserError, match=r"KEY must be a single run, got .*, a sweep of 2; .*/best "
    ):
        only_run(tmp_path, "KEY")
