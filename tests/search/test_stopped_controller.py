"""A controller that is stopped while another one works on the search leaves that one's alone."""

import os
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from optuna.trial import TrialState, create_trial
from outcomes import runs
from studies import Start

from kdsweep.common import processes
from kdsweep.common.files import write_json_atomic
from kdsweep.search.controllers import end_lock, ending, trained_by_others
from kdsweep.search.study import OWNER, claim, enqueue, park
from kdsweep.sweep.finalize import close
from kdsweep.tracking.metadata import SWEEP_DEFAULTS
from kdsweep.tracking.mlflow.pending import PendingUpload

SEARCH = [
    *["search=bayes", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "search.finalists=0"],
    *["tracking.plots=none", "trainer.epochs=2"],
]


def another() -> dict[str, Any]:
    """Another process that lives as long as this one: its parent."""
    pid = os.getppid()
    return {**processes.owner(), "pid": pid, "born": processes._born(pid)}


def test_only_trials_of_other_living_processes_are_theirs(start: Start, tmp_path: Path) -> None:
    study = start()
    enqueue(study, 4, tmp_path)
    assert claim(study, 4, 2, tmp_path) == [0, 1]
    assert trained_by_others(study) == set()
    study.note(1, OWNER, another())
    assert trained_by_others(study) == {1}
    study.note(1, OWNER, {**another(), "born": "another"})
    assert trained_by_others(study) == set(), "that process has died"
    park(study, [0, 1])
    assert trained_by_others(study) == set()


def test_who_is_stopped_does_not_wait_for_who_trains_the_finalists(
    start: Start, tmp_path: Path
) -> None:
    study = start()
    with ending(tmp_path, study, KeyboardInterrupt()) as others:
        assert not others
        with ending(tmp_path, study, KeyboardInterrupt()) as others:
            assert others
    with end_lock(tmp_path), ending(tmp_path, study, KeyboardInterrupt()) as others:
        assert others
    with ending(tmp_path, study, None) as others:
        assert not others


class Session:
    """Remembers what is to be uploaded."""

    def __init__(self, own: Path) -> None:
        self.store, self.folders, self.asked = object(), {own}, []
        self.is_detached = False

    def pending_uploads(self, folders: list[Path]) -> list[PendingUpload]:
        self.asked += folders
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
    session: Any = Session(own)
    close(tmp_path, session, None, "KILLED", KeyboardInterrupt(), lambda: [own])
    assert set(session.asked) == {own}


@pytest.mark.slow
def test_the_search_stays_open_for_the_controller_that_works(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kdsweep.search.trial_runner import Trials

    def interrupted(self: Trials, block: list[int]) -> None:
        """Begin a trial as it is done, then have Ctrl-C pressed while another process trains."""
        self.mlflow.trial(block[0], "kl", {"T": 1.0})
        theirs = create_trial(state=TrialState.RUNNING, user_attrs={OWNER: another()})
        self.study.add_trial(theirs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "train_block", interrupted)
        stopped = command(*SEARCH, tracking=True)
    assert stopped.code == 130, stopped.err
    found = runs(stopped)
    assert [run.info.status for run in found["search"]] == ["RUNNING"]
    assert [run.info.status for run in found["trial"]] == ["KILLED"]
