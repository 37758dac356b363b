"""The results as Markdown: the tables of docs/performance.md.

Times are ratios within a round, medians with the smallest and the largest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from speed.checkouts import OTHER, OWN, column_of
from speed.cohorts import GRID, WORKS
from speed.rounds import Samples, Spread, ratio
from speed.start_times import COMPOSED, HELPED, REPORTED, SECOND_DIGITS, SECOND_IMAGES, TORCH
from speed.step_times import (
    ALONE,
    CACHED_ALONE,
    CACHED_LOCKSTEP,
    FLOOR,
    LOCKSTEP,
    SOLO,
    TEACHER,
    column,
)
from speed.sweep_costs import FEW, KINDS, RUNS, WITH_ALL
from speed.worker_times import ONE, SEEDS, TWO, WORK, of_one

Results = Mapping[str, Any]  # of a JSON file: machine, extent, steps, starts, sweeps, memory, ...
MIB = 2**20


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine_lines(results: Results) -> str:
    """What the figures were measured on, and how much of it."""
    machine, extent = results["machine"], results["extent"]
    named = ", ".join(f"{name} {value}" for name, value in machine.items() if name != "cpu")
    images = "real images of CIFAR-10 size" if extent["real"] else "made images of 3 x 32 x 32"
    batches = " or ".join(str(count) for count in sorted(set(extent["batches"].values())))
    return (
        f"{machine['cpu']}; {named}. {extent['rounds']} interleaved rounds of one epoch with"
        f" {batches} batches of 128 {images}; of nine separate runs {extent['alone']}"
        f" are timed in a round and count for all. Commands: {extent['command_rounds']} rounds."
    )


def step_tables(results: Results) -> str:
    """A table for every teacher and student."""
    return "\n\n".join(
        f"**{WORKS[key].name}**\n\n{step_table(samples)}"
        for key, samples in results["steps"].items()
    )


def step_table(samples: Samples) -> str:
    """Two rows for each precision and memory format: the teacher computed, or from the cache."""
    head = [
        *("precision and memory format", "teacher's logits", "nine runs of one", "lockstep"),
        *("floor", "teacher", "lockstep / (floor + teacher)"),
    ]
    rows = []
    for setting in settings_of(samples):
        rows.append(_computed(samples, setting))
        if column(setting, CACHED_LOCKSTEP) in samples:
            rows.append(_cached(samples, setting))
    return table(head, rows)


def settings_of(samples: Samples) -> list[str]:
    """The precisions and formats that were timed."""
    end = f": {LOCKSTEP}"
    return [name.removesuffix(end) for name in samples if name.endswith(end)]


def of_solo(samples: Samples, setting: str, name: str) -> Spread:
    """A column relative to nine runs of the user's loop."""
    return ratio(samples[column(setting, name)], samples[SOLO])


def above_floor(samples: Samples, setting: str) -> Spread:
    """Lockstep relative to its floor and one forward pass of the teacher."""
    of = {name: samples[column(setting, name)] for name in (LOCKSTEP, FLOOR, TEACHER)}
    return ratio(of[LOCKSTEP], of[FLOOR], of[TEACHER])


def cached_above_floor(samples: Samples, setting: str) -> Spread:
    """Lockstep from the cache relative to its floor."""
    return ratio(samples[column(setting, CACHED_LOCKSTEP)], samples[column(setting, FLOOR)])


def _computed(samples: Samples, setting: str) -> list[str]:
    names = (ALONE, LOCKSTEP, FLOOR, TEACHER)
    ratios = [str(of_solo(samples, setting, name)) for name in names]
    return [setting, "computed", *ratios, str(above_floor(samples, setting))]


def _cached(samples: Samples, setting: str) -> list[str]:
    names = (CACHED_ALONE, CACHED_LOCKSTEP, FLOOR)
    ratios = [str(of_solo(samples, setting, name)) for name in names]
    return [setting, "cached", *ratios, "none", str(cached_above_floor(samples, setting))]


def start_table(results: Results) -> str:
    """Times of commands, each relative to another one's."""
    samples = results["starts"]
    rows = []
    for name in samples:
        if (other := START_RATIOS.get(name, TORCH)) != name:
            rows.append([name, other, str(ratio(samples[name], samples[other]))])
    return table(["command", "relative to", "ratio"], rows)


# What a command's time is divided by; the others' by that of `import torch`.
START_RATIOS = {
    TORCH: TORCH,
    COMPOSED: COMPOSED,
    HELPED: COMPOSED,
    REPORTED: COMPOSED,
    SECOND_IMAGES: SECOND_DIGITS,
}


def sweep_table(results: Results) -> str:
    """The overhead of runs, relative to `import torch`."""
    costs = results["sweeps"]
    rows = []
    for kind in KINDS:
        figures = (
            costs["whole"][kind][str(RUNS)],
            overhead(costs, kind, RUNS),
            overhead_per_run(costs, kind, RUNS),
        )
        rows.append([kind, *(str(ratio(figure, costs["torch"])) for figure in figures)])
    head = ["command", "whole", "less its training steps", "each further run"]
    return table([head[0], *(f"{name} / `import torch`" for name in head[1:])], rows)


def overhead(costs: Mapping[str, Any], kind: str, runs: int) -> list[float]:
    """Seconds of a command less those of its training steps, in each round."""
    pair = (costs[name][kind][str(runs)] for name in ("whole", "training"))
    return [whole - training for whole, training in zip(*pair, strict=True)]


def overhead_per_run(costs: Mapping[str, Any], kind: str, runs: int) -> list[float]:
    """Seconds that each run beyond the first few adds, in each round."""
    pair = (overhead(costs, kind, runs), overhead(costs, kind, FEW))
    return [(many - few) / (runs - FEW) for many, few in zip(*pair, strict=True)]


def many_table(results: Results) -> str:
    """The overhead of each run in sweeps of several sizes, relative to that in a small one."""
    costs = results["many"]
    base = overhead_per_run(costs, WITH_ALL, RUNS)
    rows = [
        [str(runs), str(ratio(overhead_per_run(costs, WITH_ALL, runs), base))]
        for runs in sizes(costs)
    ]
    head = ["runs", f"overhead of a run / that in a sweep of {RUNS}"]
    about = "The same overhead of each run in larger sweeps:"
    return f"{about}\n\n{table(head, rows)}\n\n{len(costs['torch'])} interleaved rounds."


def sizes(costs: Mapping[str, Any]) -> list[int]:
    """The numbers of runs beyond those that the overhead is compared with."""
    return [runs for runs in map(int, costs["whole"][WITH_ALL]) if runs > RUNS]


def worker_table(results: Results) -> str:
    """A whole sweep of several cohorts by two workers, relative to one."""
    samples = results["workers"]
    rows = [[f"{WORK.name}, 9 runs x {SEEDS} seeds", str(of_one(samples))]]
    about = (
        "`hydra.launcher.workers=2` trains two cohorts at a time. Whole commands with MLflow and"
        " report, the imports of the workers included:"
    )
    ratio_table = table(["whole command", f"{TWO} / {ONE}"], rows)
    return f"{about}\n\n{ratio_table}\n\n{len(samples[ONE])} interleaved rounds."


def against_table(results: Results) -> str:
    """Whole commands of this checkout, relative to those of the other one."""
    samples = results["against"]
    rows = [[kind, str(against(samples, kind))] for kind in KINDS]
    rounds = len(next(iter(samples.values())))
    about = "Whole commands next to those of an earlier commit:"
    ratio_table = table([f"{RUNS} runs", f"{OWN} / {OTHER}"], rows)
    return f"{about}\n\n{ratio_table}\n\n{rounds} interleaved rounds."


def against(samples: Samples, kind: str) -> Spread:
    """The same of one kind of command."""
    return ratio(samples[column_of(kind, OWN)], samples[column_of(kind, OTHER)])


def disk_table(results: Results) -> str:
    """Kilobytes of each of the 60 runs."""
    costs = results["sweeps"]
    names = {"its folder": "run_bytes", "its share of the sweep's files": "sweep_bytes"}
    names["MLflow's database and artifacts"] = "mlflow_bytes"
    return table(
        ["of each run", "kB"],
        [[name, f"{costs[key] / 1000:.0f}"] for name, key in names.items()],
    )


def memory_table(results: Results) -> str:
    """Mebibytes of a process with one and with nine students."""
    rows = []
    for key, by_count in results["memory"].items():
        one, nine = (by_count[str(count)]["peak"] for count in (1, len(GRID)))
        figures = (one, nine, memory_per_student(by_count), by_count["1"]["state"])
        rows.append([WORKS[key].name, *(f"{figure / MIB:.1f}" for figure in figures)])
    head = ["MiB", "peak, one student", "peak, nine", "each further student", "its own state"]
    return table(head, rows)


def memory_per_student(by_count: Mapping[str, Mapping[str, int]]) -> float:
    """Bytes that each further student adds to the peak of one, of what was measured of a work."""
    return (by_count[str(len(GRID))]["peak"] - by_count["1"]["peak"]) / (len(GRID) - 1)
