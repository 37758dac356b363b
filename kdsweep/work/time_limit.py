"""A job that is about to reach its time limit: its unit is parked, and the job queued again.

Slurm sends SIGUSR2 some time before the limit, as the batch script requests. The job itself has
Slurm put it back into the queue, so that a sweep continues without a controller.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from kdsweep.tracking.run_dir import WEIGHTS
from kdsweep.training.checkpoint import latest_epoch
from kdsweep.work.outcomes import lacking
from kdsweep.work.stopping import Stopping
from kdsweep.work.unit_file import read_unit

log = logging.getLogger(__name__)

LEAD = "KDSWEEP_LEAD"  # in the environment of a job: seconds from the signal to the limit
MARGIN = 0.75  # of them may be used until an epoch ends; writing the checkpoint takes the rest
SECONDS = 60  # that scontrol may take


class TimeLimit:
    """Parks the unit of this process when the limit of its job is near.

    Args:
        epochs: how many the runs of the unit have trained, as far as they can be resumed.
    """

    def __init__(self, stopping: Stopping, epochs: Callable[[], int]) -> None:
        self._stopping, self._epochs = stopping, epochs
        self._before = epochs()
        self._is_near = False
        signal.signal(signal.SIGUSR2, self._park)

    def _park(self, number: int, frame: object) -> None:
        self._is_near = True
        self._stopping.request(MARGIN * float(os.environ.get(LEAD, 0)))

    def requeue(self) -> None:
        """Have Slurm start this job again if its limit is near; this process ends in a moment.

        Not if it has trained no epoch: it would be no different the next time.
        """
        job = os.environ.get("SLURM_JOB_ID")
        if job is None or not self._is_near:
            return
        if self._epochs() <= self._before:
            log.warning("the time limit of job %s is near, and no epoch has been trained", job)
            return
        try:
            subprocess.run(["scontrol", "requeue", job], check=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("job %s is not queued again, its controller has to do so: %s", job, error)


def epochs_trained(folder: Path, number: int) -> int:
    """The epochs in the latest checkpoints of a unit's runs; all, of those that have ended."""
    unit = read_unit(folder, number)
    missing = lacking(folder, unit)
    return sum(
        latest_epoch((folder / run.folder / WEIGHTS).parent) if run in missing else run.epochs + 1
        for run in unit.runs
    )
