"""Plain values as the text of a yaml file, in OmegaConf's form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper


@dataclass(frozen=True)
class _Part:
    """A value and its place in the file.

    Those that are shown equally have the same text; 1 and True are equal to Python.
    """

    shown: str
    keys: tuple[Any, ...] = field(compare=False)
    value: Any = field(compare=False)


def as_yaml(values: Mapping[str, Any], *, below: str | None = None) -> str:
    """What `OmegaConf.to_yaml` writes for these values, without making a config of them first.

    A config of a run has some hundred nodes, which take ten times as long to make as to write.
    Most of them are those of the other runs of a sweep, so the text of each part is kept.

    Args:
        values: nested dicts, lists and plain values; no list or dict may be there twice.
        below: the key that all of them are below, if there is one.
    """
    above = () if below is None else (below,)
    places = [((*above, key), value) for key, value in values.items()]
    parts = [_Part(repr(place), *place) for place in places]
    if not parts:
        return _dump(dict(values) if below is None else {below: dict(values)})
    return "".join([*(f"{key}:\n" for key in above), *map(_text, parts)])


@lru_cache(maxsize=512)
def _text(part: _Part) -> str:
    """The lines of a part, without those of the keys above it."""
    content = part.value
    for key in reversed(part.keys):
        content = {key: content}
    lines = _dump(content).splitlines(keepends=True)
    return "".join(lines[len(part.keys) - 1 :])


def _dump(content: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        content,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=get_omega_conf_dumper(),
    )
    return text
