"""The runs of a search as plans: one per trial and seed, each in its own folder."""

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from kdsweep.builders.sources import DataSources
from kdsweep.config.copying import without_hydra
from kdsweep.errors import CollectedErrors
from kdsweep.execution.target import RunTarget
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.search.space import Space
from kdsweep.sweeps.hydra_jobs import HydraJobs


class TrialRun(NamedTuple):
    """One run of a trial, before it is trained; in MLflow it is nested in the run of its trial."""

    config: DictConfig
    target: RunTarget


class TrialRuns:
    """Plans the runs of one search, which needs no folder, no data and no store.

    A run is in `<trial>/seed-<seed>` of the search's folder. ``jobs`` compose the configs and call
    Hydra's job callbacks.
    """

    def __init__(
        self, jobs: HydraJobs, space: Space, folder: Path, sources: DataSources | None = None
    ) -> None:
        self.jobs, self.space, self.folder = jobs, space, folder
        self.sources = sources or DataSources()  # identified once, not in each trial

    def run(self, trial: int, values: dict[str, Any], seed: int) -> TrialRun:
        """A trial's run, composed, in its folder."""
        overrides = (*self.space.overrides(values), f"seed={seed}")
        config = self.jobs.compose(trial, overrides)
        (spec,) = build_specs(
            [without_hydra(config)],
            [overrides],
            trial,
            [*self.space.keys, "seed"],
            self.sources,
        )
        return TrialRun(config, RunTarget(spec, self.folder / str(trial) / f"seed-{seed}"))

    def boundary_specs(self, seed: int) -> list[RunSpec]:
        """Specs at the bounds of the space: if these are valid, so is every point between them.

        Raises UserError, naming every value that is not allowed.
        """
        specs: list[RunSpec] = []
        errors = CollectedErrors()
        for point in self.space.boundary_points():
            with errors.of():
                specs.append(self.run(0, point, seed).target.spec)
        errors.messages = [f"{message}, which is searched" for message in errors.messages]
        errors.raise_if_any()
        return specs
