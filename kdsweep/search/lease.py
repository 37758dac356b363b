"""Which process works on which trial of a study, and which one may end the search.

A lease is a user attribute of a running trial: the process that holds it, as `new_lease` describes
it, renewed by a heartbeat. Trials are queued and then claimed, and never more than requested: so a
search has exactly `n_trials`, whoever starts it and however often.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsweep.common.processes import is_alive, is_this_process, new_lease
from kdsweep.common.repeating import repeating
from kdsweep.common.text import first_line
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import exclusive_lock

log = logging.getLogger(__name__)

LEASE_ATTR = "kdsweep.owner"
HEARTBEAT_SECONDS = 30.0


def enqueue(study: SearchStudy, n_trials: int, folder: Path) -> None:
    """Add waiting trials until the study has `n_trials`."""
    with exclusive_lock(study.storage, folder):
        for _ in range(len(study.trials), n_trials):
            study.add_trial(create_trial(state=TrialState.WAITING))


def claim(study: SearchStudy, n_trials: int, block: int, folder: Path) -> list[int]:
    """Take the trials of the next block that no live process holds; none if there is no such block.

    Blocks are fixed ranges of trial numbers, so that a search that was killed resumes the very
    batch it was at: its suggestions then do not depend on interruptions.
    """
    with exclusive_lock(study.storage, folder):
        trials = study.get_trials(deepcopy=False)[:n_trials]
        free = [trial for trial in trials if _is_free(trial)]
        if not free:
            return []
        first = free[0].number // block
        claimed = [t for t in free if t.number // block == first]
        return [trial.number for trial in claimed if _take(study, trial)]


def _is_free(trial: FrozenTrial) -> bool:
    if trial.state is TrialState.WAITING:
        return True
    return trial.state is TrialState.RUNNING and not is_alive(trial.user_attrs.get(LEASE_ATTR))


def _take(study: SearchStudy, trial: FrozenTrial) -> bool:
    # Set before as well: a controller that shares the storage but not the lock must never see
    # a running trial without a lease.
    study.set_attr(trial.number, LEASE_ATTR, new_lease())
    if trial.state is TrialState.WAITING and not study.take(trial.number):
        return False
    study.set_attr(trial.number, LEASE_ATTR, new_lease())
    return True


def release_trials(study: SearchStudy, numbers: Sequence[int]) -> None:
    """Give up the leases of running trials; the next claim resumes them from their checkpoints."""
    for trial in study.get_trials(deepcopy=False):
        if trial.number in numbers and trial.state is TrialState.RUNNING:
            study.set_attr(trial.number, LEASE_ATTR, None)


def held_by_others(study: SearchStudy) -> set[int]:
    """The numbers of the trials that other live processes work on."""
    running = [t for t in study.get_trials(deepcopy=False) if t.state is TrialState.RUNNING]
    leases = {trial.number: trial.user_attrs.get(LEASE_ATTR) for trial in running}
    return {n for n, lease in leases.items() if is_alive(lease) and not is_this_process(lease)}


@contextmanager
def heartbeat(study: SearchStudy, numbers: Sequence[int]) -> Iterator[None]:
    """Inside, the leases of these trials are renewed every `HEARTBEAT_SECONDS`.

    By a thread of its own: a teacher may train for hours before the first epoch of a student ends.
    """

    def renew() -> None:
        try:
            for number in numbers:
                study.set_attr(number, LEASE_ATTR, new_lease())
        except Exception as error:  # the next heartbeat may get through
            log.warning("a heartbeat could not be written to the study: %s", first_line(error))

    with repeating("heartbeat", renew, HEARTBEAT_SECONDS):
        yield


def end_lock(folder: Path) -> FileLock:
    """Held while a controller trains the finalists of a search, or ends it."""
    return FileLock(folder / ".finalists.lock")


@contextmanager
def end_of_search(
    folder: Path, study: SearchStudy, stopped: BaseException | None
) -> Iterator[bool]:
    """Inside, no other controller ends the search; yields whether others continue it.

    A controller that was stopped waits for none of the others.
    """
    lock = end_lock(folder)
    try:
        lock.acquire(timeout=-1 if stopped is None else 0)
        others = stopped is not None and bool(held_by_others(study))
    except Timeout:
        others = True
    except OSError:  # a full disk has no room for the lock
        others = bool(held_by_others(study))
    try:
        yield others
    finally:
        lock.release()
