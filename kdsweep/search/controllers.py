"""The controllers of one search: whether others are at work, and one at a time ends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.trial import TrialState

from kdsweep.common.processes import is_alive, is_this_process
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import OWNER


def end_lock(folder: Path) -> FileLock:
    """Held while a controller trains the finalists of a search, or ends it."""
    return FileLock(folder / ".finalists.lock")


def trained_by_others(study: SearchStudy) -> set[int]:
    """The numbers of the trials that other living processes work on."""
    running = [t for t in study.get_trials(deepcopy=False) if t.state is TrialState.RUNNING]
    owners = {trial.number: trial.user_attrs.get(OWNER) for trial in running}
    return {number for number, own in owners.items() if is_alive(own) and not is_this_process(own)}


@contextmanager
def ending(folder: Path, study: SearchStudy, stopped: BaseException | None) -> Iterator[bool]:
    """Inside, no other controller ends the search; yields whether others go on with it.

    Args:
        stopped: what has stopped this controller; it then waits for none of the others.
    """
    lock = end_lock(folder)
    try:
        lock.acquire(timeout=-1 if stopped is None else 0)
        others = stopped is not None and bool(trained_by_others(study))
    except Timeout:
        others = True
    except OSError:  # a full disk has no room for the lock
        others = bool(trained_by_others(study))
    try:
        yield others
    finally:
        lock.release()
