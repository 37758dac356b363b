"""A unit that is built from its file is the one that was planned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Compose, Targets

from kdsweep.builders.sources import DataSources
from kdsweep.errors import UserError
from kdsweep.execution.target import SweepLocation
from kdsweep.execution.worklist import WorkUnit, pending
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.recipe_names import name_recipes
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.directory import run_targets
from kdsweep.work.unit_file import UnitFile, read_unit, unit_path, write_unit
from kdsweep.work.unit_specs import UnitBuilder, UnitRecorder, tree

SWEEPS = {
    "grid": [["T=1"], ["T=4", "alpha=0.25"], ["loss=ce"]],
    "peers": [["teacher=peers"], ["teacher=peers", "T=1"]],
    "online teacher": [["teacher.online=true"]],
    "assistant": [["teacher=assistant"]],
    "ensemble": [["teacher=ensemble"]],
    "born again": [["teacher=born_again"]],
    "stages": [["stages=hints", "loss=[kl,fitnet]"], ["stages=hints", "T=1"]],
    "schedules": [["schedule=onecycle", "loss.kl.schedule={warmup:1}", "optimizer=dot"]],
}


def recorded(units: Sequence[WorkUnit], sweep: SweepLocation) -> list[UnitFile]:
    """The units as they are read from their files."""
    recorder = UnitRecorder(sweep, Path.cwd())
    recorder.add(target for unit in units if unit.role == "run" for target in unit.targets)
    files = []
    for number, unit in enumerate(units):
        write_unit(sweep.folder, recorder.describe(number, unit, []))
        files.append(read_unit(sweep.folder, number))
    return files


def places(unit: WorkUnit) -> list[tuple[Path, str | None]]:
    """Where the runs of a unit are recorded."""
    return [(target.run_dir.absolute(), target.parent_run_id) for target in unit.targets]


def facts(spec: RunSpec) -> dict[str, Any]:
    """What the training and the record of a run depend on."""
    plain = {"number", "overrides", "swept", "role", "cell", "name", "config_yaml", "fingerprint"}
    found: dict[str, Any] = {key: getattr(spec, key) for key in sorted(plain)}
    found |= {"teacher": spec.teacher_identity, "requirements": spec.requirements}
    found["peers"] = {name: facts(peer) for name, peer in spec.peers.items()}
    found["online"] = spec.online_teacher and facts(spec.online_teacher)
    found["below"] = [facts(one) for one in tree(spec) if one is not spec]
    return {**found, "digests": dict(spec.digests), "key": spec.cohort_key}


@pytest.mark.parametrize("name", SWEEPS)
def test_the_units_of_a_sweep_are_built_as_they_were_planned(
    name: str, targets: Targets, sweep: SweepLocation
) -> None:
    units = pending(targets(*SWEEPS[name]), sweep, None)
    builder = UnitBuilder(DataSources())
    for unit, file in zip(units, recorded(units, sweep), strict=True):
        built = builder.build(file, sweep.folder)
        assert places(built) == places(unit)
        assert [facts(spec) for spec in built.specs] == [facts(spec) for spec in unit.specs]
        assert built.place == unit.place


def test_the_names_of_recipes_stay(compose: Compose, sweep: SweepLocation) -> None:
    words = [[f"scale={scale}", "teacher=peers"] for scale in ("tiny", "full")]
    specs = build_specs([compose(*job) for job in words], words, 0, ["scale"])
    named = name_recipes(specs, always=True)
    units = pending(run_targets(sweep, named), sweep, None)
    built = [UnitBuilder(DataSources()).build(f, sweep.folder) for f in recorded(units, sweep)]
    assert [facts(s) for u in built for s in u.specs] == [facts(s) for u in units for s in u.specs]


def test_other_data_are_refused(targets: Targets, sweep: SweepLocation) -> None:
    (unit,) = pending(targets(["loss=ce"]), sweep, None)
    (file,) = recorded([unit], sweep)
    data = {**file.roots[0].config["dataset"], "val_fraction": 0.3}
    other = replace(file.roots[0], config={**file.roots[0].config, "dataset": data})
    with pytest.raises(UserError, match=r"work unit 0 must be trained where ce seed=0 is the run"):
        UnitBuilder(DataSources()).build(replace(file, roots=(other,)), sweep.folder)


def test_a_unit_has_no_password(targets: Targets, sweep: SweepLocation) -> None:
    uri = "postgresql://me:secret@db/mlflow"
    units = pending(targets([f"tracking.uri={uri}", "loss=ce"]), sweep, None)
    (file,) = recorded(units, sweep)
    assert "secret" not in unit_path(sweep.folder, 0).read_text()
    (built,) = UnitBuilder(DataSources()).build(file, sweep.folder).specs
    assert built.config.tracking.uri == "postgresql://me:***@db/mlflow"
