"""The scripts that sbatch gets."""

import shlex
import sys
from pathlib import Path

from kdsweep.work.batch_script import batch_scripts, log_path, name_prefix
from kdsweep.work.slurm_options import SlurmOptions

FOLDER = Path("/sweeps/of me/10%")


def lines(options: SlurmOptions, *after: str) -> list[str]:
    ((_, script),) = batch_scripts(FOLDER, [3, 7], options, after)
    return script.splitlines()


def test_a_script_has_the_options_and_ends_as_the_command_of_the_unit() -> None:
    options = SlurmOptions(
        partition="gpu",
        account="kd",
        time=240,
        cpus=4,
        gpus=1,
        mem="16GB",
        setup=("module load cuda", "ulimit -n 4096"),
        array_parallelism=8,
        lead=60,
        sbatch={"constraint": "a100|h100", "exclusive": True, "nice": 5, "x": False},
    )
    assert lines(options) == [
        "#!/bin/bash",
        f"#SBATCH --job-name={name_prefix(FOLDER)}0",
        "#SBATCH --comment='/sweeps/of me/10%'",
        "#SBATCH --array=3,7%8",
        "#SBATCH --output='/sweeps/of me/10%%/work/job-0%3a.log'",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR2@60",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=kd",
        "#SBATCH --time=240",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --mem=16GB",
        "#SBATCH --constraint='a100|h100'",
        "#SBATCH --exclusive",
        "#SBATCH --nice=5",
        "export KDSWEEP_LEAD=60",
        "trap '' USR2",
        "module load cuda",
        "ulimit -n 4096",
        f"exec {shlex.quote(sys.executable)} -m kdsweep work '/sweeps/of me/10%'"
        " $((0 + SLURM_ARRAY_TASK_ID))",
    ]


def test_what_is_not_given_is_left_to_the_partition() -> None:
    given = [line.split("=")[0].removeprefix("#SBATCH --") for line in lines(SlurmOptions())]
    assert not {"partition", "time", "cpus-per-task", "gpus-per-node", "mem"} & set(given)


def test_jobs_that_wait_for_others_are_cancelled_if_those_fail() -> None:
    assert "#SBATCH --dependency=afterok:7_1:7_2" in lines(SlurmOptions(), "7_1", "7_2")
    assert "#SBATCH --kill-on-invalid-dep=yes" in lines(SlurmOptions(), "7_1")


def test_units_above_the_highest_index_of_an_array_are_in_arrays_of_their_own() -> None:
    options = SlurmOptions(array_parallelism=2)
    (first, one), (second, two) = batch_scripts(FOLDER, [2, 999, 1000, 1002], options)
    assert (first, second) == ([2, 999], [1000, 1002])
    assert "#SBATCH --array=2,999%2" in one.splitlines()
    assert "#SBATCH --array=0,2%2" in two.splitlines()
    assert f"#SBATCH --job-name={name_prefix(FOLDER)}1000" in two.splitlines()
    assert two.splitlines()[-1].endswith(" $((1000 + SLURM_ARRAY_TASK_ID))")


def test_without_arrays_each_unit_has_a_script() -> None:
    (_, one), (numbers, two) = batch_scripts(
        FOLDER, [3, 1002], SlurmOptions(array_parallelism=None)
    )
    assert numbers == [1002]
    assert "--array" not in one + two
    assert f"#SBATCH --job-name={name_prefix(FOLDER)}1002" in two.splitlines()
    assert two.splitlines()[-1].endswith(" 1002")


def test_the_output_of_a_unit_has_the_same_place_with_and_without_arrays() -> None:
    assert log_path(FOLDER, 7).name == "job-0007.log"  # what Slurm makes of job-0%3a.log
    assert log_path(FOLDER, 1002).name == "job-1002.log"
    ((_, script),) = batch_scripts(FOLDER, [7], SlurmOptions(array_parallelism=None))
    assert "job-0007.log" in script
