"""`hydra/launcher=lockstep_slurm` and `lockstep_ray`: the units of a sweep on a cluster.

Only light modules are imported here: Hydra imports this file whenever it looks for plugins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from kdsweep.config.overrides import is_kdsweep_search
from kdsweep.sweeps.launcher import LockstepLauncher

if TYPE_CHECKING:
    from kdsweep.runs.spec import RunSpec
    from kdsweep.work.executor import ExecutorFactory


@dataclass
class SlurmLauncherConf:
    """What `docs/cluster.md` describes. null: as the partition has it, or as the runs need it."""

    _target_: str = "kdsweep.sweeps.cluster_launchers.SlurmLockstepLauncher"
    cohort_size: int | None = None  # most students trained side by side; null: all that may be
    partition: str | None = None
    account: str | None = None
    time: str | None = None  # limit of a job: 90m, 8h, 2d
    cpus: int | None = None  # cores of a job; null: trainer.threads
    gpus: int | None = None  # of a job; null: one if trainer.device is a GPU here
    mem: str | None = None  # of a job: 16GB
    setup: list[str] = field(default_factory=list)  # lines of shell that a job runs first
    array_parallelism: int | None = 256  # jobs that run at a time; null: no arrays
    lead: str = "2m"  # before its limit, a job is parked and queued again
    sbatch: dict[str, Any] = field(default_factory=dict)  # further parameters: {qos: long}
    detach: bool = False  # submit everything and return; `kdsweep attach` publishes the results


@dataclass
class RayLauncherConf:
    """What `docs/cluster.md` describes."""

    _target_: str = "kdsweep.sweeps.cluster_launchers.RayLockstepLauncher"
    cohort_size: int | None = None  # most students trained side by side; null: all that may be
    address: str | None = None  # auto, or that of a cluster; null: one of this machine
    cpus: int | None = None  # cores of a unit; null: trainer.threads
    gpus: float | None = None  # of a unit; null: one if trainer.device is a GPU here
    memory_gib: float | None = None  # that Ray reserves for a unit
    resources: dict[str, float] = field(default_factory=dict)  # of the cluster's own: {a100: 1}


for name, node in (("lockstep_slurm", SlurmLauncherConf), ("lockstep_ray", RayLauncherConf)):
    ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="kdsweep")


class SlurmLockstepLauncher(LockstepLauncher):
    """Trains each unit of a sweep in a job of Slurm."""

    def __init__(self, cohort_size: int | None = None, **options: Any) -> None:
        super().__init__(cohort_size)  # the options are read from the config

    def find_executor(self, specs: "Sequence[RunSpec]") -> "ExecutorFactory | None":
        """Submits jobs with the options of the launcher. Raises UserError if one is wrong."""
        from kdsweep.work.slurm import find_slurm

        return find_slurm(_options(self.config), specs, is_search=is_kdsweep_search(self.config))


class RayLockstepLauncher(LockstepLauncher):
    """Trains each unit of a sweep in a task of Ray."""

    def __init__(self, cohort_size: int | None = None, **options: Any) -> None:
        super().__init__(cohort_size)  # the options are read from the config

    def find_executor(self, specs: "Sequence[RunSpec]") -> "ExecutorFactory | None":
        """Submits tasks with the options of the launcher. Raises UserError if one is wrong."""
        from kdsweep.work.ray_tasks import find_ray

        return find_ray(_options(self.config), specs)


def _options(config: DictConfig) -> dict[str, Any]:
    node = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}
