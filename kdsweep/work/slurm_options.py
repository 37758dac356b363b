"""The options of `hydra/launcher=lockstep_slurm`, as checked values."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdsweep.common.validation import is_integer, shown
from kdsweep.config.duration import parse_duration
from kdsweep.errors import CollectedErrors

# Parameters of sbatch that the sweep depends on.
OWN = {
    **{"array": "", "job-name": "", "output": "", "error": "", "signal": "", "requeue": ""},
    **{"no-requeue": "", "open-mode": "", "dependency": "", "wrap": "", "ntasks": "", "nodes": ""},
    **{"partition": "partition", "account": "account", "time": "time", "mem": "mem"},
    **{"cpus-per-task": "cpus", "gpus-per-node": "gpus"},
}
MEMORY = re.compile(r"\d+[KMGT]?B?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What a job of a sweep is given, and how many jobs run at a time.

    Attributes:
        time: limit of a job in minutes; None for that of the partition.
        cpus: cores of a job; None for as many as its runs have threads.
        setup: lines of shell that a job runs first.
        array_parallelism: jobs of an array that run at a time; None for jobs without arrays.
        lead: seconds before its limit at which a job is parked and queued again.
        sbatch: further parameters of sbatch, as in `--constraint=a100`.
    """

    partition: str | None = None
    account: str | None = None
    time: int | None = None
    cpus: int | None = None
    gpus: int = 0
    mem: str | None = None
    setup: tuple[str, ...] = ()
    array_parallelism: int | None = 256
    lead: int = 120
    sbatch: Mapping[str, Any] = field(default_factory=dict)


def slurm_options(node: Mapping[str, Any]) -> SlurmOptions:
    """The options of a `hydra.launcher` node. Raises UserError with a line per bad value."""
    errors = CollectedErrors()
    time: int | None = None
    lead = 0
    for key in ("partition", "account"):
        if (value := node[key]) is not None and not _is_word(value):
            errors.messages.append(f"{_key(key)} must be null or a name, got {shown(value)}")
    for key, least in (("cpus", 1), ("gpus", 0), ("array_parallelism", 1)):
        value = node[key]
        if value is not None and not (is_integer(value) and value >= least):
            errors.messages.append(
                f"{_key(key)} must be null or an integer of at least {least}, got {shown(value)}"
            )
    if node["mem"] is not None and not MEMORY.fullmatch(str(node["mem"])):
        errors.messages.append(
            f"{_key('mem')} must be null or a size like 16GB or 500MB, got {shown(node['mem'])}"
        )
    with errors.of():
        time = _minutes(parse_duration(_key("time"), node["time"]))
    with errors.of():
        lead = int(parse_duration(_key("lead"), node["lead"]) or 0)
    if time is not None and lead >= 60 * time:
        errors.messages.append(
            f"{_key('lead')} must be shorter than {_key('time')}={node['time']}, got {node['lead']}"
        )
    if not all(isinstance(line, str) for line in node["setup"]):
        errors.messages.append(f"{_key('setup')} must be a list of lines, got {node['setup']}")
    errors.messages += _sbatch_errors(node["sbatch"])
    errors.raise_if_any()
    return SlurmOptions(
        partition=node["partition"],
        account=node["account"],
        time=time,
        cpus=node["cpus"],
        gpus=node["gpus"] or 0,
        mem=None if node["mem"] is None else str(node["mem"]),
        setup=tuple(node["setup"]),
        array_parallelism=node["array_parallelism"],
        lead=lead,
        sbatch={_hyphened(key): value for key, value in node["sbatch"].items()},
    )


def _sbatch_errors(parameters: Mapping[str, Any]) -> list[str]:
    messages = []
    for key, value in parameters.items():
        instead = OWN.get(_hyphened(key))
        if instead is not None:
            why = f"is {_key(instead)}" if instead else "is set by kdsweep"
            messages.append(f"{_key('sbatch')} must have other parameters: {key} {why}")
        elif not isinstance(value, str | int | float):
            messages.append(
                f"{_key('sbatch')}.{key} must be a text, a number or true, got {shown(value)}"
            )
    return messages


def _is_word(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^\s,]+(,[^\s,]+)*", value) is not None


def _minutes(seconds: float | None) -> int | None:
    """Slurm counts in minutes."""
    return None if seconds is None else math.ceil(seconds / 60)


def _hyphened(key: object) -> str:
    return str(key).replace("_", "-")


def _key(name: str) -> str:
    return f"hydra.launcher.{name}"
