"""Overrides: what a command line sets, what a sweep varies, and who chooses its jobs."""

from collections.abc import Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from kdsweep.common.passwords import redact_text

# Keys that never alter a result: where it goes and how it is obtained, not what it is.
CONTROL = (
    "tracking",
    "deploy",
    "cache",
    "allow",
    "resume",
    "dry_run",
    "debug",
    "experiment",
    "scale",
    "search",
    "published",
    "hydra",
)


def override_values(overrides: Sequence[str]) -> dict[str, str]:
    """key -> value of the overrides of one job."""
    return dict(pair for pair in map(_key_and_value, overrides) if pair is not None)


@cache
def _key_and_value(word: str) -> tuple[str, str] | None:
    """The key and value of one override; None if it deletes a key."""
    (override,) = OverridesParser.create().parse_overrides([word])
    if override.is_delete():
        return None
    return override.key_or_group, str(override.get_value_element_as_str())


def swept_keys(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The keys whose value is not the same in every job, in the order of the command line."""
    settings = [override_values(job) for job in jobs]
    keys = dict.fromkeys(key for job in settings for key in job)
    return [key for key in keys if len({job.get(key) for job in settings}) > 1]


def keys_without_effect(jobs: Sequence[Sequence[str]], fingerprints: Sequence[str]) -> list[str]:
    """The swept keys that change no run: with the other keys fixed, the fingerprint stays.

    Jobs of several recipes have other keys each, so a key may have no two jobs to compare.
    """
    settings = [override_values(job) for job in jobs]
    idle = []
    for key in swept_keys(jobs):
        groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for job, fingerprint in zip(settings, fingerprints, strict=True):
            rest = tuple(sorted((k, v) for k, v in job.items() if k != key))
            groups.setdefault(rest, []).append(fingerprint)
        compared = [group for group in groups.values() if len(group) > 1]
        if compared and all(len(set(group)) == 1 for group in compared):
            idle.append(key)
    return idle


def command_words(config: DictConfig) -> list[str]:
    """The overrides of the command line as they were written, interpolations not resolved."""
    words = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def hydra_words(config: DictConfig) -> list[str]:
    """The overrides of Hydra's own keys as they were written, interpolations not resolved."""
    words = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def command_sweeps(config: DictConfig) -> list[str]:
    """The keys that the command line or the sweeper's params vary."""
    words = command_words(config)
    words += [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


def sweep_name(config: DictConfig) -> str:
    """The words of the command line, as the name of the sweep's parent run."""
    words = command_words(config)
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
    assert isinstance(params, dict)
    named = [word.split("=")[0] for word in words]
    words += [f"{key!s}={value}" for key, value in params.items() if key not in named]
    return redact_text(" ".join(words)) or "defaults"


def is_search(config: DictConfig) -> bool:
    """Whether the sweeper chooses the jobs itself (Optuna) instead of listing a grid."""
    return "direction" in config.hydra.sweeper


def is_kdsweep_search(config: DictConfig) -> bool:
    """Whether kdsweep's own sweeper drives the sweep; several starts share its directory."""
    return str(config.hydra.sweeper._target_).startswith("kdsweep.search.")


def is_lockstep(config: DictConfig) -> bool:
    """Whether one process has all runs of a sweep, wherever they are trained."""
    return str(config.hydra.launcher._target_).endswith("LockstepLauncher")


def is_sweep_dir_given(config: DictConfig) -> bool:
    """Whether the user named the sweep's directory; by default it is named by the time."""
    return any(word.startswith("hydra.sweep.dir=") for word in hydra_words(config))
