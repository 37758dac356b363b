"""A job that is about to reach its time limit: its unit is parked, and the job queued again.

Slurm sends SIGUSR2 some time before the limit, as the batch script requests. The job itself has
Slurm put it back into the queue, so that a sweep goes on without a controller.
"""

import logging
import os
import signal
import subprocess

from kdsweep.work.stopping import Stopping

log = logging.getLogger(__name__)

LEAD = "KDSWEEP_LEAD"  # in the environment of a job: seconds from the signal to the limit
MARGIN = 0.75  # of them may be used until an epoch ends; writing the checkpoint takes the rest
SECONDS = 60  # that scontrol may take


class TimeLimit:
    """Parks a unit of this process when the limit of its job is near."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self.is_near = False
        signal.signal(signal.SIGUSR2, self._park)

    def _park(self, number: int, frame: object) -> None:
        self.is_near = True
        self._stopping.request(MARGIN * float(os.environ.get(LEAD, 0)))

    def requeue(self) -> None:
        """Have Slurm start this job again; it ends this process in a moment."""
        if (job := os.environ.get("SLURM_JOB_ID")) is None:
            return
        try:
            subprocess.run(["scontrol", "requeue", job], check=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("job %s is not queued again, its controller has to do so: %s", job, error)
