"""The recipe in the name of a cell, where a sweep over recipes needs it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kdsweep.config.overrides import override_values
from kdsweep.config.run_config import to_values
from kdsweep.runs.spec import RunSpec

RECIPES = ("experiment", "scale")  # groups that set keys of all the others
SHARED = ("dataset", "teacher", "student", "optimizer", "schedule", "trainer")


def name_recipes(specs: Sequence[RunSpec], *, always: bool) -> list[RunSpec]:
    """The specs with `experiment=NAME` in their cells if the recipes swept over need telling apart.

    They need it where they have different data, networks or optimizers, so that a `ce` of one is no
    baseline for another, or different runs of the same name. Recipes of the same setting give
    cells of one grid, as if their loss terms, T and alpha had been swept over.

    ``always`` is for a part of a sweep, of which it is not known.
    """
    for key in RECIPES:
        names = [override_values(spec.swept).get(key) for spec in specs]
        if any(names) and (always or _are_different(specs, names)):
            specs = [
                spec if name is None else _named(spec, f"{key}={name}")
                for spec, name in zip(specs, names, strict=True)
            ]
    return list(specs)


def _are_different(specs: Sequence[RunSpec], names: Sequence[str | None]) -> bool:
    settings: dict[str | None, set[str]] = {}
    runs: dict[str, set[str]] = {}
    for spec, name in zip(specs, names, strict=True):
        settings.setdefault(name, set()).add(_setting(spec))
        runs.setdefault(spec.name, set()).add(spec.fingerprint)
    return not _are_equal(settings.values()) or any(len(same) > 1 for same in runs.values())


def _are_equal(sets: Iterable[set[str]]) -> bool:
    first, *others = sets
    return all(other == first for other in others)


def _setting(spec: RunSpec) -> str:
    """What the runs that are compared in a table have in common, or what the sweep varies of it."""
    values = to_values(spec.config)
    return json.dumps({key: values[key] for key in SHARED}, sort_keys=True, default=str)


def _named(spec: RunSpec, word: str) -> RunSpec:
    def named(one: RunSpec) -> RunSpec:
        return replace(one, cell=replace(one.cell, name=f"{spec.cell.name} {word}{rest(one)}"))

    def rest(one: RunSpec) -> str:
        return one.cell.name.removeprefix(spec.cell.name)  # ` peer=NAME`

    return replace(named(spec), peers={name: named(peer) for name, peer in spec.peers.items()})
