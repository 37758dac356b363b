"""Two controllers of one search in one folder: nothing lost, nothing twice, and how they end."""

from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import Command
from optuna.trial import TrialState, create_trial
from outcomes import runs
from processes import SMALL, assert_mlflow_is_tidy, results, runs_of, start

from kdsweep.common.files import write_json_atomic
from kdsweep.common.processes import new_lease
from kdsweep.search.lease import LEASE_ATTR
from kdsweep.sweeps.finalize import close
from kdsweep.tracking.metadata import SWEEP_DEFAULTS
from kdsweep.tracking.mlflow.pending import PendingUpload

SEARCH = [
    *["search=bayes", *SMALL, "hydra.sweeper.n_trials=12"],
    *["hydra.sweeper.n_jobs=2", "search.finalists=2", "search.finalist_seeds=1"],
]


def assert_whole(folder: Path) -> None:
    storage = f"sqlite:///{folder}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 12
    owners = Counter(trial.user_attrs["kdsweep.owner"]["pid"] for trial in trials)
    assert len(owners) == 2, "one process did everything"
    by_place = results(folder)
    assert len(by_place) == 12 + 2
    assert {result[0] for result in by_place.values()} == {"FINISHED"}
    assert_mlflow_is_tidy(folder, runs_of(folder))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_two_controllers_share_a_search(tmp_path: Path, workers: int) -> None:
    words = [*SEARCH, "trainer.epochs=5", f"search.workers={workers}"]
    first = start(tmp_path, words)
    second = start(tmp_path, words)
    printed = [process.communicate()[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0, printed
    assert any("12 trials complete" in text for text in printed)
    assert_whole(tmp_path)


SHORT = [
    *["search=bayes", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "search.finalists=0"],
    *["tracking.plots=none", "trainer.epochs=2"],
]


class Context:
    """Keeps the folders whose uploads were requested."""

    def __init__(self, own: Path) -> None:
        self.store, self.run_dirs, self.requested = object(), {own}, []
        self.lacks_store = False

    def pending_uploads(self, folders: list[Path]) -> list[PendingUpload]:
        self.requested += folders
        return []

    def upload_pending(self, pending_uploads: Any) -> bool:
        if pending_uploads():
            raise AssertionError("the run of the whole search is closed")
        return True


def test_only_the_own_folders_are_uploaded_while_others_work(tmp_path: Path) -> None:
    note = {**SWEEP_DEFAULTS, "parent_run_id": "a", "fingerprints": {}, "created": 0.0}
    write_json_atomic(tmp_path / "sweep.json", {**note, "name": "bayes", "role": "search"})
    for number in (0, 1):
        (tmp_path / str(number)).mkdir()
        write_json_atomic(tmp_path / str(number) / "trial.json", {"name": str(number)})
    own = tmp_path / "0"
    context: Any = Context(own)
    close(tmp_path, context, "KILLED", KeyboardInterrupt(), with_report=False, only=lambda: [own])
    assert set(context.requested) == {own}


@pytest.mark.slow
def test_the_search_stays_open_for_the_controller_that_works(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kdsweep.search.trial_runner import TrialRunner

    def interrupted(self: TrialRunner, block: list[int]) -> None:
        """Start a trial, then have Ctrl-C pressed while another process trains one."""
        self.logger.trial(block[0], "kl", {"T": 1.0})
        trial = create_trial(
            state=TrialState.RUNNING,
            user_attrs={LEASE_ATTR: {**new_lease(), "host": "another.example"}},
        )
        self.study.add_trial(trial)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrialRunner, "train_block", interrupted)
        stopped = command(*SHORT, tracking=True)
    assert stopped.code == 130, stopped.err
    by_role = runs(stopped)
    assert [run.info.status for run in by_role["search"]] == ["RUNNING"]
    assert [run.info.status for run in by_role["trial"]] == ["KILLED"]
