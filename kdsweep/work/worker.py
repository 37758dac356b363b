"""What trains the units of a sweep in a process of its own: run folders only, no MLflow."""

import logging
import os
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

from kdsweep.builders.sources import DataSources
from kdsweep.common.passwords import redact_text
from kdsweep.common.text import one_line
from kdsweep.config.run_config import RunConfig
from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import SweepLocation
from kdsweep.tracking.console import Progress
from kdsweep.work import attempt
from kdsweep.work.attempt import Attempt, Taken
from kdsweep.work.inline import train_unit
from kdsweep.work.outcomes import lacking
from kdsweep.work.pruning import PruneRequests
from kdsweep.work.stopping import Parked, Stopping
from kdsweep.work.unit_file import UnitFile, read_unit
from kdsweep.work.unit_specs import UnitBuilder

NOTES = 50  # lines for the user that an attempt keeps
LOST = 76  # exit code of a process whose unit another one has taken

log = logging.getLogger(__name__)


class WorkerProgress(Progress):
    """The display of a worker, whose notes are also those of its attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        super().note(line)
        self.notes = [*self.notes, line][-NOTES:]


class Worker:
    """Trains units of one sweep, one after the other; data sets and teachers stay loaded.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.progress = WorkerProgress()
        self.stopping = Stopping(lambda: self.progress.seconds_of_epoch_left)
        self._sources = DataSources()
        self._builder = UnitBuilder(self._sources)
        self._context: TrainingContext | None = None

    def run(self, number: int) -> tuple[str, str | None]:
        """Train a unit, unless that is done; returns its state, and why it has failed.

        Both are in the file of the attempt, too. Raises UserError if there is no such unit, another
        process has it, or a unit that it needs is not over.
        """
        unit = read_unit(self.folder, number)
        _change_to(unit)
        # A run that failed before this unit was planned is trained again; in this unit, once.
        again = attempt.latest(self.folder, number) is None
        if not lacking(self.folder, unit, again=again):
            return attempt.DONE, None
        for need in unit.needs:
            _refuse_unfinished(self.folder, unit, read_unit(self.folder, need))
        try:
            made = attempt.take(self.folder, number)
        except Taken as taken:
            raise UserError(f"work unit {number} must be free, but {taken}") from taken
        missing = lacking(self.folder, unit, again=again)  # what no process has ended meanwhile
        return self._train(unit, {run.fingerprint for run in missing}, made)

    def _train(self, unit: UnitFile, missing: Set[str], made: Attempt) -> tuple[str, str | None]:
        """Train those runs of a unit that are missing, by their fingerprints."""
        self.progress = progress = WorkerProgress()
        made.progress, made.notes = lambda: progress.state, lambda: progress.notes
        state, reason = attempt.DONE, None
        try:
            with progress, progress.warnings_of("kdsweep"), made.beating():
                whole = self._builder.build(unit, self.folder)
                targets = tuple(t for t in whole.targets if t.spec.fingerprint in missing)
                context = self._prepare(unit, whole.specs[0].config, made)
                if targets:
                    part = replace(whole, targets=targets)
                    train_unit(part, context, resume=True, on_epoch=PruneRequests(targets))
        except (Parked, KeyboardInterrupt):
            state = attempt.PARKED
        except (UserError, RunFailed) as error:
            state, reason = attempt.FAILED, redact_text(one_line(error))
        except Exception as error:
            state = attempt.FAILED
            reason = redact_text(f"{type(error).__name__}: {one_line(error)}")
            log.exception("work unit %s has failed", unit.number)
        made.end(state, reason)
        return state, reason

    def _prepare(self, unit: UnitFile, config: RunConfig, made: Attempt) -> TrainingContext:
        """The context of all units, ready for this one."""
        if self._context is None:
            options = replace(config.tracking, uri=None, system_metrics=False)
            self._context = TrainingContext(options, self.progress, config.cache)
            self._context.data_sources = self._sources
        context = self._context
        context.progress = self.progress
        context.sweep = SweepLocation(self.folder, unit.parent_run_id)

        def at_step() -> None:
            if made.is_lost:  # another process trains these runs: nothing may be written any more
                os._exit(LOST)
            self.stopping.at_step()

        context.stop_at_step, context.stop_in_time = at_step, self.stopping.at_epoch
        return context


def _change_to(unit: UnitFile) -> None:
    """Make relative paths mean what they mean to the controller."""
    try:
        os.chdir(unit.cwd)
    except OSError as error:
        raise UserError(
            f"{unit.cwd}, where the sweep was started, must be on a file system that all hosts"
            f" share, but it cannot be opened here ({error.strerror})"
        ) from error


def _refuse_unfinished(folder: Path, unit: UnitFile, needed: UnitFile) -> None:
    if missing := lacking(folder, needed):
        raise UserError(
            f"work unit {unit.number} must be trained after unit {needed.number}, of which"
            f" {missing[0].name} has not ended"
        )
