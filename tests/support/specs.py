"""Specs of runs outside of a sweep."""

from kdsweep.config.run_config import RunConfig
from kdsweep.runs.build_specs import SpecBuilder
from kdsweep.runs.spec import RunSpec


def build_spec(config: RunConfig, digests: dict[str, str]) -> RunSpec:
    """The spec of a run; ``digests`` are of the contents that the config only names."""
    return SpecBuilder().related(config, digests, "run", config.loss_name)
