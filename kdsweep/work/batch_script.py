"""The batch script of an array of work units, as `sbatch` reads it."""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsweep.work.slurm_options import SlurmOptions
from kdsweep.work.unit_file import FOLDER

BLOCK = 1000  # units whose jobs share a name: 1000 is the highest index that Slurm allows by default


def array_name(folder: Path, number: int) -> str:
    """The name of the jobs of a sweep's units, or of the block of them that this one is in."""
    sweep = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
    return f"kdsweep-{sweep}-{number // BLOCK}"


def log_path(folder: Path, number: int) -> Path:
    """Where the output of a unit's jobs is, one after the other."""
    return folder / FOLDER / f"job-{number // BLOCK}{number % BLOCK:03d}.log"


def batch_script(
    folder: Path, numbers: Sequence[int], options: SlurmOptions, after: Sequence[str] = ()
) -> str:
    """The script that trains units of one block, each in a job of its own.

    Args:
        folder: of the sweep, an absolute path.
        after: ids of jobs that have to be done before.
    """
    first = numbers[0] // BLOCK * BLOCK
    indices = ",".join(str(number - first) for number in numbers)
    logs = folder / FOLDER / f"job-{first // BLOCK}%3a.log"
    parameters: dict[str, Any] = {
        "job-name": array_name(folder, numbers[0]),
        "comment": str(folder),
        "array": f"{indices}%{options.array_parallelism}",
        "output": str(logs),
        "open-mode": "append",
        "requeue": True,  # after a preemption or the loss of a node
        "signal": f"B:USR2@{options.lead}",
        "partition": options.partition,
        "account": options.account,
        "time": options.time,
        "cpus-per-task": options.cpus,
        "gpus-per-node": options.gpus or None,
        "mem": options.mem,
        **options.sbatch,
    }
    if after:
        parameters |= {"dependency": f"afterok:{':'.join(after)}", "kill-on-invalid-dep": "yes"}
    unit = "$SLURM_ARRAY_TASK_ID" if first == 0 else f"$(({first} + SLURM_ARRAY_TASK_ID))"
    command = shlex.join([sys.executable, "-m", "kdsweep", "work", str(folder)])
    lines = [
        "#!/bin/bash",
        *_directives(parameters),
        f"export KDSWEEP_GRACE={options.lead}",
        *options.setup,
        f"exec {command} {unit}",  # exec: so that signals reach it
    ]
    return "\n".join(lines) + "\n"


def _directives(parameters: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in parameters.items():
        if value is True:
            lines.append(f"#SBATCH --{key}")
        elif value is not None:
            lines.append(f"#SBATCH --{key}={shlex.quote(str(value))}")
    return lines
