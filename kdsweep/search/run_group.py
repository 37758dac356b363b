"""Runs of a search that end together: those of a block of trials with a seed, or of finalists."""

from collections.abc import Collection, Sequence

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn

from kdsweep.errors import UserError
from kdsweep.execution.run_writer import EpochCallback
from kdsweep.search.search_runs import SearchRuns
from kdsweep.search.trial_runs import TrialRun
from kdsweep.tracking.metadata import read_fingerprint
from kdsweep.tracking.result import RunResult


class RunGroup:
    """Runs that are trained in as few cohorts as possible, as far as they have not been.

    A run that another process is training, or another group, is waited for, not trained again.

    Args:
        search: of which they are; its `step` trains them.
        on_epoch: may stop single ones early.

    Raises UserError if a trial's folder holds another run, which another search of this name has
    left.
    """

    def __init__(
        self, search: SearchRuns, runs: Sequence[TrialRun], on_epoch: EpochCallback | None
    ) -> None:
        _refuse_other_runs(runs)
        self._search, self._runs, self._on_epoch = search, list(runs), on_epoch
        self._waiting: dict[str, TrialRun] = {}  # by fingerprint
        for run in runs:
            fingerprint = run.target.spec.fingerprint
            if fingerprint not in self._waiting and not search.is_done(run.target):
                self._waiting[fingerprint] = run
        self._in_training: dict[str, tuple[TrialRun, JobReturn]] = {}
        self._locks: dict[str, FileLock] = {}
        self._has_trained = False
        self._reasons: set[str] = set()  # why there was nothing to train

    def advance(self) -> bool:
        """Begin with the runs that are free by now; whether all have ended.

        Raises UserError if a teacher that all of them need could not be trained.
        """
        if free := self._lock_free():
            self._search.read_new_results()
            self._begin([run for key, run in free.items() if not self._search.is_trained(key)])
            self._unlock(free.keys() - self._in_training.keys())
        for fingerprint in list(self._in_training):
            if (ended := self._search.take_result(fingerprint)) is not None:
                self._end(fingerprint, *ended)
        if self._waiting or self._in_training:
            return False
        if self._reasons and not self._has_trained:
            raise UserError("\n".join(sorted(self._reasons)))
        return True

    def results(self) -> list[RunResult]:
        """In the order of the runs."""
        return [self._search.result(run.target) for run in self._runs]

    def release(self) -> None:
        """Have another process train what has not ended."""
        self._unlock(list(self._locks))

    def _lock_free(self) -> dict[str, TrialRun]:
        """The runs that no process trains; they are locked."""
        folder = self._search.folder / ".locks"
        folder.mkdir(exist_ok=True)
        free: dict[str, TrialRun] = {}
        for fingerprint, run in self._waiting.items():
            lock = FileLock(folder / fingerprint)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            self._locks[fingerprint], free[fingerprint] = lock, run
        self._waiting = {key: run for key, run in self._waiting.items() if key not in free}
        return free

    def _begin(self, runs: Sequence[TrialRun]) -> None:
        if not runs:
            return
        search = self._search
        for run in runs:
            subdir = str(run.target.run_dir.relative_to(search.folder))
            job = search.jobs.open(run.config, search.folder, subdir)
            self._in_training[run.target.spec.fingerprint] = run, job
        search.train(runs, self._on_epoch)

    def _end(self, fingerprint: str, result: RunResult, blocked: str | None) -> None:
        run, job = self._in_training.pop(fingerprint)
        if blocked is None:
            self._has_trained = True
        else:
            self._reasons.add(blocked)
        self._search.note_trained(run.target)
        self._unlock([fingerprint])
        self._search.jobs.close(run.config, job, result)

    def _unlock(self, fingerprints: Collection[str]) -> None:
        for fingerprint in fingerprints:
            self._locks.pop(fingerprint).release()


def _refuse_other_runs(runs: Sequence[TrialRun]) -> None:
    for _, target in runs:
        if read_fingerprint(target.run_dir) not in (None, target.spec.fingerprint):
            raise UserError(
                f"search.name must be another one, or {target.run_dir} be moved away: that folder"
                f" holds another run than {target.spec.name} (other data, or another search of this"
                " name)"
            )
