"""What a run was trained from and with, against what it would be trained from and with now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdsweep.execution.provenance import input_digests, run_environment
from kdsweep.runs.spec import RunSpec
from kdsweep.sweep.rerun.original import Original

if TYPE_CHECKING:
    from rich.console import Console

DIGITS = 16  # of a digest that are shown; earlier versions recorded no more of the data's


@dataclass(frozen=True)
class Condition:
    """One of them. ``recorded``: None in runs of earlier versions; ``now``: None if not known."""

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
    """The fingerprint, the digests of data and weights, the versions and the machine."""
    before, now = original.inputs, input_digests(spec)
    inputs = [
        Condition(_label(key), _short(before.get(key)), _short(now.get(key)))
        for key in dict.fromkeys([*before, *now])
    ]
    used, using = original.environment, run_environment(spec)
    environment = [Condition(key, used.get(key), using[key]) for key in using]
    return [
        Condition("fingerprint", original.result.fingerprint, spec.fingerprint),
        *inputs,
        *environment,
    ]


def _label(key: str) -> str:
    return "data" if key == "dataset" else f"weights of {key}"


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:DIGITS]


def show_conditions(found: Sequence[Condition], console: "Console") -> None:
    """Print those that are not the same."""
    from rich.markup import escape
    from rich.table import Table

    changed = [condition for condition in found if not condition.is_same]
    if not changed:
        console.print("config, data, weights of teachers, versions and machine are as recorded")
        return
    table = Table("", "recorded", "now")
    for one in changed:
        table.add_row(one.name, escape(one.recorded or "not recorded"), escape(one.now or "none"))
    console.print(table)
