"""trainer.threads: `auto`, and no more threads than cores."""

import subprocess
import sys
from collections.abc import Iterator

import joblib
import pytest
from commands import Compose

from kdsweep.common.machine import usable_cores
from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import RunConfig
from kdsweep.config.threads import resolve_threads
from kdsweep.config.validate import validation_errors

LOGICAL, PHYSICAL = 12, 6


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with so many cores, whatever this one has."""

    def cpu_count(only_physical_cores: bool = False) -> int:
        return PHYSICAL if only_physical_cores else LOGICAL

    monkeypatch.setattr(joblib, "cpu_count", cpu_count)
    usable_cores.cache_clear()
    yield
    usable_cores.cache_clear()


def resolved(compose: Compose, *words: str) -> RunConfig:
    return resolve_threads(resolve_config(compose(*words)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], 1),
        (["trainer.threads=3"], 3),
        (["trainer.threads='3'"], 3),
        (["trainer.threads=auto"], 6),
        (["trainer.threads=auto", "search.workers=2"], 3),
        (["trainer.threads=auto", "search.workers=4"], 1),
        (["trainer.threads=auto", "search.workers=7"], 1),
        (["trainer.threads=auto", "trainer.devices=2"], 3),
        (["trainer.threads=auto", "trainer.devices=2", "search.workers=3"], 1),
    ],
)
def test_auto_is_physical_cores_over_workers(
    compose: Compose, words: list[str], expected: int
) -> None:
    config = resolve_config(compose(*words))
    assert validation_errors(config) == []
    found = resolve_threads(config).trainer.threads
    assert found == expected
    assert type(found) is int


def test_a_number_from_the_environment(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN_CORES", "4")
    assert resolved(compose, "trainer.threads=${oc.env:GIVEN_CORES}").trainer.threads == 4


def test_teachers_have_their_own_number_or_that_of_the_root(compose: Compose) -> None:
    config = resolved(compose, "trainer.threads=auto", "teacher=born_again")
    assert config.teacher.trainer.threads == PHYSICAL
    assert resolved(compose, "trainer.threads=auto").teacher.trainer.threads == 1
    config = resolved(compose, "teacher.trainer.threads=auto")
    assert (config.trainer.threads, config.teacher.trainer.threads) == (1, PHYSICAL)


def test_teachers_below_teachers_are_resolved(compose: Compose) -> None:
    config = resolved(compose, "teacher=ensemble", "teacher.members.first.trainer.threads=auto")
    assert config.teacher.members["first"].trainer.threads == PHYSICAL


REFUSED = {
    "13": "trainer.threads must be auto or at most 12, the number of cores that this process may"
    " use, got 13",
    "0": "trainer.threads must be auto or an integer >= 1, got 0",
    "-1": "trainer.threads must be auto or an integer >= 1, got -1",
    "1.0": "trainer.threads must be auto or an integer >= 1, got 1.0",
    "true": "trainer.threads must be auto or an integer >= 1, got true",
    "null": "trainer.threads must be auto or an integer >= 1, got null",
    "atuo": "trainer.threads must be auto or an integer >= 1, got atuo; did you mean auto?",
}


@pytest.mark.parametrize("value", REFUSED)
def test_other_values_are_refused(compose: Compose, value: str) -> None:
    assert validation_errors(resolve_config(compose(f"trainer.threads={value}"))) == [
        REFUSED[value]
    ]


def test_more_threads_than_cores_are_refused_of_a_teacher_too(compose: Compose) -> None:
    (error,) = validation_errors(resolve_config(compose("teacher.trainer.threads=13")))
    assert error.startswith("teacher.trainer.threads must be auto or at most 12, ")


def test_the_number_is_in_the_spec_and_its_fingerprint(compose: Compose) -> None:
    from kdsweep.execution.provenance import run_environment
    from kdsweep.runs.build_specs import build_specs

    words = [["trainer.threads=auto"], ["trainer.threads=6"], []]
    configs = [compose("loss=ce", "teacher=none", *one) for one in words]
    auto, six, one = build_specs(configs, words, 0, [])
    assert auto.config.trainer.threads == 6
    assert "threads: 6" in auto.config_yaml
    assert run_environment(auto)["threads"] == "6"
    assert auto.fingerprint == six.fingerprint != one.fingerprint


@pytest.mark.ci
def test_one_thread_does_not_count_cores() -> None:
    """Nor does the import: `--help` has no need of joblib."""
    code = (
        "import sys; from kdsweep.config import validate as v;"
        "assert v._thread_problems('k', 1) == [] == v._thread_problems('k', 'auto');"
        "assert 'joblib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
