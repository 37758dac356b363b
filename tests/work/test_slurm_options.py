"""The options of `hydra/launcher=lockstep_slurm`, and what bad ones are refused with."""

from typing import Any

import pytest

from kdsweep.errors import UserError
from kdsweep.work.slurm_options import SlurmOptions, slurm_options

NODE: dict[str, Any] = {
    **{"partition": None, "account": None, "time": None, "cpus": None, "gpus": None, "mem": None},
    **{"setup": [], "array_parallelism": 256, "lead": "2m", "sbatch": {}},
}


def refusal(**values: Any) -> list[str]:
    with pytest.raises(UserError) as refused:
        slurm_options(NODE | values)
    return str(refused.value).splitlines()


def test_the_defaults_leave_everything_to_the_partition() -> None:
    assert slurm_options(NODE) == SlurmOptions()


def test_values_are_taken_over() -> None:
    given = {"partition": "gpu,cpu", "account": "kd", "cpus": 4, "gpus": 2, "mem": "16GB"}
    more = {"setup": ["module load cuda"], "array_parallelism": None, "time": "90s", "lead": 30}
    options = slurm_options(
        NODE | given | more | {"sbatch": {"mail_type": "END", "exclusive": True}}
    )
    assert options == SlurmOptions(
        partition="gpu,cpu",
        account="kd",
        time=2,  # whole minutes, not less than given
        cpus=4,
        gpus=2,
        mem="16GB",
        setup=("module load cuda",),
        array_parallelism=None,
        lead=30,
        sbatch={"mail-type": "END", "exclusive": True},
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"partition": ""}, "hydra.launcher.partition must be null or a name, got ''"),
        ({"account": "a b"}, "hydra.launcher.account must be null or a name, got 'a b'"),
        ({"cpus": 0}, "hydra.launcher.cpus must be null or an integer of at least 1, got 0"),
        ({"cpus": "4"}, "hydra.launcher.cpus must be null or an integer of at least 1, got '4'"),
        ({"gpus": -1}, "hydra.launcher.gpus must be null or an integer of at least 0, got -1"),
        (
            {"array_parallelism": 0},
            "hydra.launcher.array_parallelism must be null or an integer of at least 1, got 0",
        ),
        (
            {"mem": "lots"},
            "hydra.launcher.mem must be null or a size like 16GB or 500MB, got lots",
        ),
        (
            {"time": "soon"},
            "hydra.launcher.time must be null or a time > 0 like 90 (seconds), 90s, 30m, 8h or 2d,"
            " got soon",
        ),
        (
            {"time": "2m", "lead": "2m"},
            "hydra.launcher.lead must be shorter than hydra.launcher.time=2m, got 2m",
        ),
        ({"setup": [1]}, "hydra.launcher.setup must be a list of lines, got [1]"),
        (
            {"sbatch": {"cpus_per_task": 4}},
            "hydra.launcher.sbatch must have other parameters: cpus_per_task is"
            " hydra.launcher.cpus",
        ),
        (
            {"sbatch": {"job-name": "x"}},
            "hydra.launcher.sbatch must have other parameters: job-name is set by kdsweep",
        ),
        (
            {"sbatch": {"constraint": ["a", "b"]}},
            "hydra.launcher.sbatch.constraint must be a text, a number or true, got [a, b]",
        ),
    ],
)
def test_bad_values_are_refused_in_one_sentence(values: dict[str, Any], message: str) -> None:
    assert refusal(**values) == [message]


def test_all_bad_values_are_reported_together() -> None:
    assert len(refusal(cpus=0, mem="lots", time="soon", lead="never")) == 4
