"""The software and the machine that are recorded of a run."""

import platform
from collections.abc import Iterator

import pytest
import torch

from kdsweep.tracking import environment as module
from kdsweep.tracking.environment import environment


@pytest.fixture(autouse=True)
def uncached() -> Iterator[None]:
    environment.cache_clear()
    yield
    environment.cache_clear()


def test_versions_and_the_instruction_set_are_recorded() -> None:
    found = environment("cpu")
    assert found["python"] == platform.python_version()
    assert found["torch"].startswith(torch.__version__.partition("+")[0])
    assert found["device"] == f"cpu {torch.backends.cpu.get_cpu_capability()}"


@pytest.mark.parametrize(
    ("tags", "commit"),
    [
        ({}, "none"),
        ({"mlflow.source.git.commit": "abc"}, "abc"),
        ({"mlflow.source.git.commit": "abc", "kdsweep.git.dirty": "true"}, "abc with changes"),
    ],
)
def test_the_commit_is_that_of_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], commit: str
) -> None:
    monkeypatch.setattr(module, "git_tags", lambda folders: tags)
    assert environment("cpu")["commit"] == commit
