"""The keys of a composed config, and which of them a mistyped one most likely means."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdsweep.common.suggestions import nearest

# What the literature and other programs call a key.
SYNONYMS = {
    "temperature": "T",
    "tau": "T",
    "learning_rate": "optimizer.lr",
    "num_epochs": "trainer.epochs",
    "max_epochs": "trainer.epochs",
}
MOST_LISTED = 40
ELSEWHERE = 0.8  # similarity from 0 to 1 of names at different places


def keys_of(config: DictConfig | Mapping[str, Any]) -> list[str]:
    """All keys with dots, those of nodes included, interpolations not followed."""
    if isinstance(config, DictConfig):
        return list(_below(OmegaConf.to_container(config, resolve=False), ""))
    return list(_below(config, ""))


def _below(node: Any, prefix: str) -> Iterable[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{prefix}{name}"
            yield from _below(child, f"{prefix}{name}.")


def nearest_key(key: str, keys: Sequence[str]) -> str | None:
    """The key that a mistyped one most likely means: never a key that there is not.

    `epochs` means trainer.epochs, `trianer.epochs` too, and `temprature` T.
    """
    if (synonym := nearest(key, SYNONYMS)) is not None and SYNONYMS[synonym] in keys:
        return SYNONYMS[synonym]
    last = key.rpartition(".")[2]
    if same := [known for known in keys if known.rpartition(".")[2] == last]:
        return nearest(key, same) or min(same, key=_depth)
    if (walked := _walk(key, keys)) is not None:
        return walked
    by_name: dict[str, str] = {}
    for known in sorted(keys, key=_depth):
        by_name.setdefault(known.rpartition(".")[2], known)
    names = get_close_matches(last, by_name, n=1, cutoff=ELSEWHERE)
    return by_name[names[0]] if names else None


def _depth(key: str) -> tuple[int, int]:
    return key.count("."), len(key)


def _walk(key: str, keys: Sequence[str]) -> str | None:
    """The key in which each part is the one typed, or the nearest next to it."""
    known, prefix = set(keys), ""
    for part in key.split("."):
        if f"{prefix}{part}" not in known:
            near = nearest(part, names_below(prefix[:-1], keys))
            if near is None:
                return None
            part = near
        prefix = f"{prefix}{part}."
    return prefix[:-1]


def names_below(parent: str, keys: Sequence[str]) -> list[str]:
    """The last parts of the keys right below another; of all that stand at the root below none."""
    prefix = f"{parent}." if parent else ""
    below = [key[len(prefix) :] for key in keys if key.startswith(prefix)]
    return [name for name in below if "." not in name]


def did_you_mean_key(key: str, keys: Sequence[str]) -> str:
    """The end of a refusal, `; did you mean trainer.epochs?`, or nothing."""
    suggestion = nearest_key(key, keys)
    return "" if suggestion is None or suggestion == key else f"; did you mean {suggestion}?"


def listed(names: Sequence[str], typed: str = "") -> str:
    """Names in a row; of many the nearest to what was typed first."""
    first = nearest(typed, names)
    row = names if first is None or len(names) < 8 else [first, *(n for n in names if n != first)]
    more = "" if len(row) <= MOST_LISTED else f" and {len(row) - MOST_LISTED} more"
    return ", ".join(row[:MOST_LISTED]) + more
