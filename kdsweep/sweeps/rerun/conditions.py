"""What a run was trained from and with, against what it would be trained from and with now."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsweep.common.nested import leaves
from kdsweep.config.run_config import to_values
from kdsweep.execution.provenance import SOURCE, input_digests, run_environment
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.rerun.original import Original
from kdsweep.tracking.printing import print_table

if TYPE_CHECKING:
    from rich.console import Console

NODES = ("dataset", "student", "loss", "optimizer", "schedule", "trainer", "hard")
DEVICE = "trainer.device"  # recorded as what it resolves to
DIGITS = 16  # of a digest that are shown; earlier versions recorded no more of the data's


@dataclass(frozen=True)
class Condition:
    """One of them.

    ``recorded`` is None in runs of earlier versions, ``now`` of a teacher that is to be trained.
    """

    name: str
    recorded: str | None
    now: str | None

    @property
    def is_same(self) -> bool:
        return self.recorded == self.now

    @property
    def differs(self) -> bool:
        """Whether both are known, and different."""
        return None not in (self.recorded, self.now) and not self.is_same


def conditions(original: Original, spec: RunSpec) -> list[Condition]:
    """The fingerprint, changed keys of the config, digests of inputs, versions, the machine."""
    before, now = original.inputs, input_digests(spec)
    inputs = [
        Condition(_label(key), _short(before.get(key)), _short(now.get(key)))
        for key in dict.fromkeys([*before, *now])
    ]
    config = [Condition(key, *values) for key, values in _changed_keys(original, spec)]
    used, using = original.environment, run_environment(spec)
    environment = [Condition(key, used.get(key), using[key]) for key in using]
    return [
        Condition("fingerprint", original.result.fingerprint, spec.fingerprint),
        *config,
        *inputs,
        *environment,
    ]


def _changed_keys(original: Original, spec: RunSpec) -> Iterator[tuple[str, tuple[str, str]]]:
    """The keys of the config that have another value than in the run's record, with both."""
    values = to_values(spec.config)
    for key, value in leaves({key: values[key] for key in ("T", "alpha", "seed", *NODES)}):
        recorded, now = (json.dumps(one) for one in (original.params.get(key), value))
        if key in original.params and recorded != now and key != DEVICE:
            yield key, (recorded, now)


def _label(key: str) -> str:
    if key.startswith(f"{SOURCE} "):
        return f"the source of {key.removeprefix(f'{SOURCE} ')}"
    return "data" if key == "dataset" else f"weights of {key}"


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:DIGITS]


def show_conditions(conditions: Sequence[Condition], console: "Console") -> None:
    """Print those that are not the same."""
    from rich.markup import escape
    from rich.table import Column, Table

    changed = [condition for condition in conditions if not condition.is_same]
    if not changed:
        console.print("config, data, weights of teachers, versions and machine are as recorded")
        return
    table = Table(*(Column(header, overflow="fold") for header in ("", "recorded", "now")))
    for one in changed:
        recorded, now = one.recorded or "not recorded", one.now or "not there"
        table.add_row(*map(escape, (one.name, recorded, now)))
    print_table(console, table)
