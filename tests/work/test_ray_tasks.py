"""Tasks of Ray as an executor, with a stand-in for the module; `test_ray_cluster.py` has Ray."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import TINY, Compose

from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.work import ray_tasks
from kdsweep.work.executor import Exit
from kdsweep.work.ray_options import RayOptions
from kdsweep.work.ray_tasks import RayExecutor, find_ray, train_unit


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(f"a traceback of {cause}")
        self.cause = cause


class FakeRay:
    """Tasks are texts; a task ends when its outcome is set."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.outcomes: dict[str, Exception | None] = {}
        self.cancelled: list[tuple[str, bool]] = []
        self.is_shut_down = False
        self.resources = {"CPU": 8.0, "GPU": 1.0}

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **options: Any) -> Any:
        self.options = options

        def of(function: object) -> Any:
            assert function is train_unit
            return SimpleNamespace(remote=lambda folder, number: f"task {number}")

        return of

    def wait(
        self, tasks: Sequence[str], num_returns: int, timeout: float
    ) -> tuple[list[str], list[str]]:
        ended = [task for task in tasks if task in self.outcomes][:num_returns]
        return ended, [task for task in tasks if task not in ended]

    def get(self, task: str) -> None:
        if (error := self.outcomes[task]) is not None:
            raise error

    def cancel(self, task: str, force: bool) -> None:
        self.cancelled.append((task, force))
        if task == "task 0":
            self.outcomes[task] = None  # the other one does not listen

    def shutdown(self) -> None:
        self.is_shut_down = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ray_tasks, "connect", lambda options: fake)
    return fake


def test_a_task_is_given_what_its_unit_needs(ray: FakeRay, tmp_path: Path) -> None:
    options = RayOptions(cpus=2, gpus=0.5, memory_gib=1.5, resources={"a100": 1})
    RayExecutor(tmp_path, options).submit([0])
    assert ray.options == {
        "max_retries": 0,
        "num_cpus": 2,
        "num_gpus": 0.5,
        "memory": 1610612736,
        "resources": {"a100": 1},
    }


def test_tasks_that_have_ended_are_reported_once_with_their_reason(
    ray: FakeRay, tmp_path: Path
) -> None:
    tasks = RayExecutor(tmp_path, RayOptions(cpus=1))
    assert tasks.poll(0) == []
    tasks.submit([0, 1, 2, 3])
    assert tasks.poll(0) == []
    ray.outcomes = {
        "task 0": None,
        "task 2": RayTaskError(UserError("work unit 2 must be free")),
        "task 3": RayError("The worker died unexpectedly.\nCheck the logs."),
    }
    assert tasks.poll(0) == [
        Exit(0),
        Exit(2, "work unit 2 must be free"),
        Exit(3, "The worker died unexpectedly."),
    ]
    assert tasks.poll(0) == []


def test_closing_interrupts_the_tasks_and_kills_those_that_do_not_listen(
    ray: FakeRay, tmp_path: Path
) -> None:
    tasks = RayExecutor(tmp_path, RayOptions(cpus=1))
    tasks.submit([0, 1])
    tasks.close(leave=True)
    assert ray.cancelled == [("task 0", False), ("task 1", False), ("task 1", True)]
    assert ray.is_shut_down


def test_there_are_as_many_workers_as_the_cluster_has_room_for(
    ray: FakeRay, tmp_path: Path
) -> None:
    assert RayExecutor(tmp_path, RayOptions(cpus=3)).workers == 2
    assert RayExecutor(tmp_path, RayOptions(cpus=1, gpus=0.5)).workers == 2
    assert RayExecutor(tmp_path, RayOptions(cpus=1, resources={"a100": 1})).workers == 0


def test_a_machine_that_is_too_small_is_refused(ray: FakeRay, compose: Compose) -> None:
    runs = build_specs([compose(*TINY)], [[]], 0, [])
    node = {"address": None, "cpus": 9, "gpus": None, "memory_gib": None, "resources": {}}
    with pytest.raises(UserError) as refused:
        find_ray(node, runs)
    assert str(refused.value) == (
        "hydra.launcher.cpus, gpus and resources must be what this machine has, got 9, 0 and {}"
    )
    assert ray.is_shut_down
    find_ray(node | {"address": "auto"}, runs)  # a cluster may grow
