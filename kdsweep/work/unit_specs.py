"""A work unit as plain values, and back: its specs are built anew from the configs of runs.

What is built must have the recorded fingerprints. So a process with other data, other code or
another kind of device trains nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from kdsweep.builders.sources import DataSources
from kdsweep.common.passwords import redact_nested
from kdsweep.config.run_config import run_config, to_values
from kdsweep.errors import UserError
from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import WorkUnit
from kdsweep.runs.build_specs import SpecBuilder
from kdsweep.runs.naming import Cell
from kdsweep.runs.spec import RunSpec
from kdsweep.work.unit_file import Root, UnitFile, UnitRun


def tree(spec: RunSpec) -> Iterator[RunSpec]:
    """A run, and all whose weights it needs, directly or not."""
    yield spec
    if spec.stage is not None:
        yield from tree(spec.stage)
    for teacher in spec.teachers:
        if teacher.run is not None:
            yield from tree(teacher.run)


class UnitRecorder:
    """Describes the units of one sweep, whose teachers and stages are found in its runs."""

    def __init__(self, sweep: SweepLocation, cwd: Path) -> None:
        self._sweep, self._cwd = sweep, cwd
        self._roots: dict[str, RunSpec] = {}  # fingerprint -> a run in whose tree it is

    def add(self, targets: Iterable[RunTarget]) -> None:
        """Runs of the sweep, before units are described in which what they need is trained."""
        for target in targets:
            for spec in tree(target.spec):
                if spec.role != "run":  # which is its own root
                    self._roots.setdefault(spec.fingerprint, target.spec)

    def describe(self, number: int, unit: WorkUnit, needs: Sequence[int]) -> UnitFile:
        """A unit as it is written to its file."""
        owners = [self._owner(target) for target in unit.targets]
        roots = {owner.fingerprint: owner for owner in owners}
        position = {fingerprint: place for place, fingerprint in enumerate(roots)}
        more = ", ..." if len(unit.targets) > 1 else ""
        return UnitFile(
            number=number,
            role=unit.role,
            name=f"{unit.specs[0].name}{more}",
            needs=tuple(needs),
            place=unit.place,
            cwd=str(self._cwd),
            parent_run_id=self._sweep.parent_run_id,
            roots=tuple(_root(owner) for owner in roots.values()),
            runs=tuple(
                self._run(target, position[owner.fingerprint])
                for target, owner in zip(unit.targets, owners, strict=True)
            ),
        )

    def _owner(self, target: RunTarget) -> RunSpec:
        is_run = target.spec.role == "run"
        return target.spec if is_run else self._roots[target.spec.fingerprint]

    def _run(self, target: RunTarget, root: int) -> UnitRun:
        spec = target.spec
        further = [target.run_dir / "peers" / name for name in spec.peers]
        if (online := spec.online_teacher) is not None:
            further.append(self._sweep.folder / f"teacher-{online.fingerprint}")
        return UnitRun(
            name=spec.name,
            fingerprint=spec.fingerprint,
            folder=self._relative(target.run_dir),
            further=tuple(map(self._relative, further)),
            epochs=spec.config.trainer.epochs,
            parent_run_id=target.parent_run_id,
            root=root,
        )

    def _relative(self, folder: Path) -> str:
        sweep = self._sweep.folder
        inside = folder.is_relative_to(sweep)
        return str(folder.relative_to(sweep) if inside else self._cwd / folder)


def _root(spec: RunSpec) -> Root:
    return Root(
        config=redact_nested(to_values(spec.config)),
        cell=asdict(spec.cell),
        number=spec.number,
        overrides=spec.overrides,
        swept=spec.swept,
    )


class UnitBuilder:
    """Builds the units of one sweep from their files; what several share is built once."""

    def __init__(self, sources: DataSources) -> None:
        self._builder = SpecBuilder(sources)

    def build(self, unit: UnitFile, sweep: Path) -> WorkUnit:
        """The unit, to be trained in the folder of its sweep.

        Raises UserError if something that it names is not there, or a run is another one here.
        """
        roots = [self._spec(root) for root in unit.roots]
        targets = []
        for run in unit.runs:
            root = roots[run.root]
            below = (one for one in tree(root) if one.role == unit.role)
            spec = next((one for one in below if one.fingerprint == run.fingerprint), None)
            if spec is None:
                raise UserError(_another(unit, run, root))
            targets.append(RunTarget(spec, sweep / run.folder, run.parent_run_id))
        return WorkUnit(tuple(targets), unit.place)

    def _spec(self, root: Root) -> RunSpec:
        spec = self._builder.of_config(run_config(root.config), Cell(**root.cell))
        numbered = partial(replace, number=root.number, overrides=root.overrides, swept=root.swept)
        peers = {name: numbered(peer) for name, peer in spec.peers.items()}
        return numbered(spec, peers=peers)


def _another(unit: UnitFile, run: UnitRun, root: RunSpec) -> str:
    here = root.fingerprint if unit.role == "run" else "another one"
    return (
        f"work unit {unit.number} must be trained where {run.name} is the run {run.fingerprint},"
        f" got a place where it is {here}: other data, another kdsweep or another kind of device"
    )
