"""A composed config before its interpolations are resolved: which keys a term refers to."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from kdsweep.config.keys import did_you_mean_key, keys_of
from kdsweep.config.limits import scalars, unknown_keys
from kdsweep.config.schema import TrainConfig


def raw(node: DictConfig | ListConfig | None) -> dict[str, Any]:
    """A node as it is written, interpolations not followed; empty for none."""
    container = {} if node is None else OmegaConf.to_container(node, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def interpolates(cfg: DictConfig, key: str) -> bool:
    """Whether the root key (`T` or `alpha`) is interpolated in a loss term, or in a stage's."""
    terms = {"loss": raw(cfg.loss), "stages": raw(cfg.stages)}
    return any(f"${{{key}}}" in text for _, text in interpolations(terms))


def alpha_weighted(loss: dict[str, Any]) -> bool:
    return any(
        path.endswith(".weight") and text == "${alpha}" for path, text in interpolations(loss)
    )


def interpolations(loss: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((path, text) for path, text in _texts(loss) if "${" in text)


def unknown_key_errors(written: dict[str, Any]) -> list[str]:
    """A message for every key that nothing reads: the schema lacks it, no value refers to it.

    Hydra itself refuses an unknown key, but not `+key=value`. ``written`` is a `raw` config.
    """
    texts = [text for _, text in _texts(written)]
    unknown = list(unknown_keys(TrainConfig, written))
    known = [key for key in keys_of(written) if key not in unknown] if unknown else []
    return [
        f"{key} must be a key of the config, got +{key}, which nothing reads"
        f"{did_you_mean_key(key, known)}"
        for key in unknown
        if not any(re.search(rf"\$\{{{re.escape(key)}[.}}]", text) for text in texts)
    ]


def missing_keys(written: dict[str, Any]) -> list[str]:
    """The mandatory keys (`???`) of a `raw` config that have no value."""
    return sorted(path for path, text in _texts(written) if text == MISSING)


def _texts(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every string of a config, with the path of its key."""
    return ((path, value) for path, value in scalars(node) if isinstance(value, str))
