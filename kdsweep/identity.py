"""What a run is: its fingerprint (for machines) and its cell (for people)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from kdsweep.common.text import format_number
from kdsweep.config.interpolation import interpolates
from kdsweep.config.recipes import online_recipe, peers, stage_before, teacher_recipe, teachers

# Raised whenever a change of ours alters the numbers that a config produces.
NUMERICS = 3

# Keys that say where, not what: they never alter a result.
CONTROL = (
    "tracking",
    "resume",
    "dry_run",
    "debug",
    "experiment",
    "scale",
    "search",
    "published",
    "hydra",
)


def loss_name(values: dict[str, Any]) -> str:
    """The terms joined by `+`, e.g. `fitnet+kl`; `ce` when there is no term beside the hard one."""
    return "+".join(sorted(values["loss"])) or "ce"


def fingerprint(
    values: dict[str, Any],
    *,
    needs_teacher: Callable[[dict[str, Any]], bool],
    digests: dict[str, str],
    resolve_device: Callable[[str], str],
) -> str:
    """A hash of everything that decides a run's numbers, the same for `T=4` and `T=4.0`.

    Args:
        values: the resolved config.
        needs_teacher: whether some loss term of a config, this one or that of a teacher, asks a
            teacher; if none does, the teacher is left out.
        digests: content digests of what the config only names: `dataset`, and the paths of given
            checkpoints.
        resolve_device: turns `auto` into the device that is there; only its kind counts.
    """
    keys = ("dataset", "student", "loss", "optimizer", "schedule", "hard", "hard_weight", "seed")
    identity: dict[str, Any] = {key: values[key] for key in keys}
    identity["dataset"] = _without_paths(values["dataset"])
    device = resolve_device(values["trainer"]["device"]).split(":")[0]
    identity["trainer"] = {**values["trainer"], "device": device}
    identity["alpha"] = values["alpha"] if values["alpha_weighted"] else None
    identity["digests"] = {"dataset": digests["dataset"]}
    identity["student"] = _student(values["student"], digests)
    identity["numerics"] = NUMERICS
    if values["beside"] is not None:
        identity["beside"] = values["beside"]
    if needs_teacher(values):
        identity["teacher"] = teacher_identity(
            values, needs_teacher=needs_teacher, digests=digests, resolve_device=resolve_device
        )
    if (before := stage_before(values)) is not None:
        identity["begins_with"] = fingerprint(
            before[1], needs_teacher=needs_teacher, digests=digests, resolve_device=resolve_device
        )
    text = json.dumps(_canonical(identity), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def peer_fingerprint(run: str, name: str) -> str:
    """The fingerprint of a peer of the run with this one."""
    return hashlib.sha256(f"{run} peer {name}".encode()).hexdigest()[:16]


def teacher_identity(
    values: dict[str, Any],
    *,
    needs_teacher: Callable[[dict[str, Any]], bool],
    digests: dict[str, str],
    resolve_device: Callable[[str], str],
) -> Any:
    """The fingerprint of the run that trains the teacher, or the content of a given checkpoint.

    Those of an ensemble's members or of the other peers, in their order; None without a teacher.
    """

    def trained(recipe: dict[str, Any]) -> str:
        return fingerprint(
            recipe, needs_teacher=needs_teacher, digests=digests, resolve_device=resolve_device
        )

    def identity(one: dict[str, Any]) -> dict[str, Any] | str:
        path = one["teacher"]["checkpoint"]
        if path is not None:
            return {"model": one["teacher"]["model"], "checkpoint": digests[path]}
        return trained(teacher_recipe(one))

    if (online := online_recipe(values)) is not None:
        return {"online": trained(online)}

    if others := peers(values):
        return {
            "peers": [
                [name, _student(other["student"], digests), other["loss"]]
                for name, other in others.items()
            ]
        }
    found = [identity(one) for one in teachers(values).values()]
    if values["teacher"]["members"]:
        return {"members": found}
    return found[0] if found else None


# Of a data source: where its files are, and how they are read. Neither changes a pixel.
READING = ("root", "path", "memory_gib", "workers")


def _without_paths(dataset: dict[str, Any]) -> dict[str, Any]:
    source = {key: value for key, value in dataset["source"].items() if key not in READING}
    return {**dataset, "source": source, "root": None}


def _student(student: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """With the content of its checkpoint; its features count where a loss term names them."""
    path = student["checkpoint"]
    rest = {key: value for key, value in student.items() if key != "features"}
    return {**rest, "checkpoint": None if path is None else digests[path]}


def _canonical(value: Any) -> Any:
    """Numbers in one form, so that 4, 4.0 and 4e0 are the same."""
    if isinstance(value, dict):
        return {str(key): _canonical(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(child) for child in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def cell(cfg: DictConfig, values: dict[str, Any], swept: Sequence[str]) -> str:
    """One point of the sweep without its seed, as people read it: `kl T=4 alpha=0.5`.

    Args:
        swept: the overrides of this run whose keys the sweep varies, as `key=value`.
    """
    parts = [loss_name(values)]
    parts += [
        f"{key}={format_number(values[key])}" for key in ("T", "alpha") if interpolates(cfg, key)
    ]
    told = {"loss", "T", "alpha", "seed"}
    for override in swept:
        key, _, value = override.lstrip("+").partition("=")
        if key not in told and key.split(".")[0] not in CONTROL:
            parts.append(f"{key}={value}")
    return " ".join(parts)


def run_name(cell: str, seed: int) -> str:
    """The name of a run everywhere people meet it: `kl T=4 alpha=0.5 seed=0`."""
    return f"{cell} seed={seed}"


def override_keys(overrides: Sequence[str]) -> dict[str, str]:
    """key -> value of one job's overrides."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return {
        override.key_or_group: str(override.get_value_element_as_str())
        for override in parsed
        if not override.is_delete()
    }


def swept_keys(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The keys whose value is not the same in every job, in the order of the command line."""
    values: dict[str, set[str | None]] = {}
    settings = [override_keys(job) for job in jobs]
    for key in dict.fromkeys(key for job in settings for key in job):
        values[key] = {job.get(key) for job in settings}
    return [key for key, seen in values.items() if len(seen) > 1]


def without_effect(jobs: Sequence[Sequence[str]], fingerprints: Sequence[str]) -> list[str]:
    """The swept keys that change no run: whatever the other keys are, the fingerprint stays."""
    settings = [override_keys(job) for job in jobs]
    idle = []
    for key in swept_keys(jobs):
        groups: dict[tuple[tuple[str, str], ...], set[str]] = {}
        for job, mark in zip(settings, fingerprints, strict=True):
            rest = tuple(sorted((k, v) for k, v in job.items() if k != key))
            groups.setdefault(rest, set()).add(mark)
        if all(len(marks) == 1 for marks in groups.values()):
            idle.append(key)
    return idle
