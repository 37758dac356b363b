"""Places work units as tasks of Ray, on a running cluster or on one of this machine alone.

Ray chooses the node and the process of a unit, and uses its processes again. A task whose process
or node is lost is reported like any other that ended: the controller submits its unit once more.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsweep.common.text import first_line, one_line
from kdsweep.common.validation import shown
from kdsweep.errors import UserError
from kdsweep.runs.spec import RunSpec
from kdsweep.work.demand import cores_for, gpus_for
from kdsweep.work.executor import ExecutorFactory, Exit
from kdsweep.work.own_package import own_environment_set
from kdsweep.work.ray_options import RayOptions, ray_options

if TYPE_CHECKING:
    from kdsweep.work.worker import Worker

log = logging.getLogger(__name__)

PARK_SECONDS = 60.0  # in which a task parks its unit before its process is killed
GIB = 2**30

_workers: dict[Path, "Worker"] = {}  # of a process of Ray's: the one of its latest sweep


def train_unit(folder: Path, number: int) -> None:
    """Train a unit in a process of Ray's, which keeps data sets and teachers for the next one."""
    from kdsweep.work.worker import Worker

    if folder not in _workers:
        _workers.clear()
        _workers[folder] = Worker(folder)
    _workers[folder].run(number)


def find_ray(node: Mapping[str, Any], specs: Sequence[RunSpec]) -> ExecutorFactory:
    """Tasks of Ray for these runs, with the options of a `hydra.launcher` node.

    Raises UserError if one is not allowed, Ray is not installed, there is no cluster at its
    address, or this machine is too small for a unit.
    """
    options = ray_options(node)
    cpus, gpus = cores_for(specs, options.cpus), gpus_for(specs, node["gpus"])
    options = replace(options, cpus=cpus, gpus=gpus)
    if not specs[0].config.dry_run:  # the plan of a sweep can be made anywhere
        ray = connect(options)
        if options.address is None and _room(ray, options) < 1:
            ray.shutdown()
            raise UserError(
                "hydra.launcher.cpus, gpus and resources must be what this machine has, got"
                f" {cpus}, {gpus:g} and {shown(dict(options.resources))}"
            )
    return partial(RayExecutor, options=options)


class RayExecutor:
    """Submits units as tasks. They end with this process."""

    def __init__(self, folder: Path, options: RayOptions) -> None:
        self._ray = connect(options)
        self._folder, self._options = folder.absolute(), options
        self._units: dict[Any, int] = {}  # by the reference of their task

    @property
    def workers(self) -> int:
        """How many units the cluster has room for, as it is now."""
        return _room(self._ray, self._options)

    def free(self) -> int:
        """Ray queues any number of tasks."""
        return sys.maxsize

    def submit(self, numbers: Sequence[int]) -> None:
        """Submit a task for each unit."""
        options = self._options
        # The controller submits a unit once more, and knows whether it got anywhere.
        task = self._ray.remote(
            max_retries=0,
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            memory=None if options.memory_gib is None else int(options.memory_gib * GIB),
            resources=dict(options.resources) or None,
        )(train_unit)
        self._units |= {task.remote(self._folder, number): number for number in numbers}

    def poll(self, seconds: float) -> Sequence[Exit]:
        """The units whose tasks have ended; waits for one at most so long."""
        if not self._units:
            time.sleep(seconds)
            return []
        ended, waiting = self._ray.wait(list(self._units), num_returns=1, timeout=seconds)
        ended += self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
        return [Exit(self._units.pop(one), self._reason(one)) for one in ended]

    def close(self, *, leave: bool = False) -> None:
        """Park and end all tasks: none of them continues without this process."""
        for task in self._units:
            self._ray.cancel(task, force=False)  # a KeyboardInterrupt in its process
        if tasks := list(self._units):
            _, running = self._ray.wait(tasks, num_returns=len(tasks), timeout=PARK_SECONDS)
            for task in running:
                self._ray.cancel(task, force=True)
        self._units.clear()
        self._ray.shutdown()

    def _reason(self, task: Any) -> str | None:
        """Why a task has ended, if not in order."""
        try:
            self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:  # it raised
            return one_line(error.cause)
        except self._ray.exceptions.RayError as error:  # its process or its node is gone
            return first_line(error)
        return None


def _room(ray: Any, options: RayOptions) -> int:
    """How many units fit into the cluster as it is now."""
    there = ray.cluster_resources()
    needed = {"CPU": options.cpus or 1, "GPU": options.gpus, **options.resources}
    return int(min(there.get(name, 0.0) // count for name, count in needed.items() if count))


def import_ray() -> Any:
    """The module of Ray. Raises UserError if it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "hydra/launcher must be another one than lockstep_ray without the package ray, got"
            " lockstep_ray; pip install 'kdsweep[ray]'"
        ) from error
    return ray


def connect(options: RayOptions) -> Any:
    """The module of Ray, connected to a cluster. Raises UserError."""
    ray = import_ray()
    if not ray.is_initialized():
        try:
            with own_environment_set():  # which a cluster of this machine takes over
                ray.init(
                    address=options.address or "local",
                    include_dashboard=False if options.address is None else None,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                "hydra.launcher.address must be that of a running cluster, or null for one of this"
                f" machine, got {options.address}: {first_line(error)}"
            ) from error
    return ray
