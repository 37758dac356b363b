"""The batch script of an array of work units, as `sbatch` reads it."""

import hashlib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsweep.work.slurm_options import SlurmOptions
from kdsweep.work.time_limit import LEAD
from kdsweep.work.unit_file import FOLDER

BLOCK = 1000  # units of an array at most: Slurm's highest index is 1000 by default


def name_prefix(folder: Path) -> str:
    """What the names of a sweep's jobs begin with: an array's end with its first unit."""
    return f"kdsweep-{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}-"


def log_path(folder: Path, number: int) -> Path:
    """Where the output of a unit's jobs is, one after the other."""
    return folder / FOLDER / f"job-{number // BLOCK}{number % BLOCK:03d}.log"


def batch_scripts(
    folder: Path, numbers: Sequence[int], options: SlurmOptions, after: Sequence[str] = ()
) -> Iterator[tuple[list[int], str]]:
    """The scripts that train units, each in a job of its own, and which units a script trains.

    Args:
        folder: of the sweep, an absolute path.
        after: ids of jobs that have to be done before.
    """
    if options.array_parallelism is None:
        for number in numbers:
            yield [number], _script(folder, number, options, after, {}, str(number))
        return
    for block in sorted({number // BLOCK for number in numbers}):
        alike = [number for number in numbers if number // BLOCK == block]
        indices = ",".join(str(number % BLOCK) for number in alike)
        array = {"array": f"{indices}%{options.array_parallelism}"}
        unit = f"$(({block * BLOCK} + SLURM_ARRAY_TASK_ID))"
        yield alike, _script(folder, block * BLOCK, options, after, array, unit)


def _script(
    folder: Path,
    first: int,
    options: SlurmOptions,
    after: Sequence[str],
    array: Mapping[str, str],
    unit: str,
) -> str:
    log = f"job-{first // BLOCK}%3a.log" if array else log_path(folder, first).name
    parameters: dict[str, Any] = {
        "job-name": f"{name_prefix(folder)}{first}",
        "comment": str(folder),
        **array,
        "output": f"{str(folder / FOLDER).replace('%', '%%')}/{log}",
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
    command = shlex.join([sys.executable, "-m", "kdsweep", "work", str(folder)])
    lines = [
        "#!/bin/bash",
        *_directives(parameters),
        f"export {LEAD}={options.lead}",
        "trap '' USR2",  # which would end the job before Python handles it
        *options.setup,
        f"exec {command} {unit}",  # exec: so that signals reach it
    ]
    return "\n".join(lines) + "\n"


def _directives(parameters: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in parameters.items():
        if value is True:
            lines.append(f"#SBATCH --{key}")
        elif value is not None and value is not False:
            lines.append(f"#SBATCH --{key}={shlex.quote(str(value))}")
    return lines
