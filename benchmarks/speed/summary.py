"""The main figures in words: what docs/performance.md begins with, and the table of the README."""

from collections.abc import Iterable, Mapping
from typing import Any

from kdsweep.common.text import counted
from speed.cohorts import WORKS
from speed.rounds import Samples, digits, ratio
from speed.start_times import TORCH
from speed.step_times import CACHED_LOCKSTEP, LOCKSTEP, column
from speed.sweep_costs import RUNS, WITH_ALL
from speed.tables import (
    MIB,
    Results,
    above_floor,
    cached_above_floor,
    memory_per_student,
    of_solo,
    overhead_per_run,
    settings_of,
    table,
)

WARM = {"digits, warm": "on digits", "images, warm": "on images of CIFAR-10's size"}


def summary(results: Results) -> str:
    """A list of sentences, medians of the tables."""
    lines = [*_steps(results["steps"]), _above_floors(results["steps"])]
    if starts := results.get("starts"):
        lines += [_start(starts)]
    if costs := results.get("sweeps"):
        each = ratio(overhead_per_run(costs, WITH_ALL, RUNS), costs["torch"]).median
        lines += [
            f"In a sweep of {RUNS} runs with MLflow and report each further run adds"
            f" {digits(each)} of `import torch` to its training steps."
        ]
    lines += _memory(results.get("memory") or {})
    return "\n".join(f"- {line}" for line in lines)


def _steps(steps: Mapping[str, Samples]) -> Iterable[str]:
    """A sentence for each teacher and student; formats as `auto` chooses them."""
    for key, samples in steps.items():
        settings = [name for name in settings_of(samples) if name.endswith(" auto")]
        computed = _by_precision(samples, settings, LOCKSTEP)
        sentence = f"Nine {WORKS[key].name} students in lockstep take {computed} of the time of"
        sentence += " nine runs of a plain PyTorch loop in fp32"
        cached = [name for name in settings if column(name, CACHED_LOCKSTEP) in samples]
        if cached:
            read = _by_precision(samples, cached, CACHED_LOCKSTEP)
            sentence += f"; with the teacher's logits from the cache {read}"
        yield f"{sentence}."


def _by_precision(samples: Samples, settings: Iterable[str], name: str) -> str:
    """`0.232 (fp32) or 0.134 (bf16)`."""
    figures = (
        f"{digits(of_solo(samples, setting, name).median)} ({setting.partition(' ')[0]})"
        for setting in settings
    )
    return " or ".join(figures)


def _above_floors(steps: Mapping[str, Samples]) -> str:
    """What kdsweep adds to the bare steps, as the range of all rows of a table."""
    ranges = []
    for key, samples in steps.items():
        medians = []
        for setting in settings_of(samples):
            medians.append(above_floor(samples, setting).median)
            if column(setting, CACHED_LOCKSTEP) in samples:
                medians.append(cached_above_floor(samples, setting).median)
        ranges.append(f"{digits(min(medians))} to {digits(max(medians))} ({WORKS[key].name})")
    return (
        "Lockstep relative to the bare steps of its students and the forward passes of its"
        f" teacher: {', '.join(ranges)}."
    )


def _start(starts: Samples) -> str:
    """When the first step ends."""
    figures = [
        f"{digits(ratio(starts[name], starts[TORCH]).median)} {what}"
        for name, what in WARM.items()
        if name in starts
    ]
    return (
        "From a command to the end of its first training step, where it has trained before, it"
        f" takes {' or '.join(figures)} times as long as `import torch`."
    )


def _memory(memory: Mapping[str, Any]) -> Iterable[str]:
    """What a student adds to the peak."""
    for key, by_count in memory.items():
        extra = memory_per_student(by_count) / MIB
        yield f"Each further student of {WORKS[key].name} adds {extra:.0f} MiB to the peak memory."


def sentence(results: Results) -> str:
    """What the README states."""
    extent, machine = results["extent"], results["machine"]
    samples = results["steps"]["vgg"]
    images = f"{'real' if extent['real'] else 'made'} images of CIFAR-10's size"
    head = ["precision, memory format", "lockstep", "teacher's logits from the cache"]
    return (
        "The training steps of the nine-run grid take, relative to nine runs of a plain PyTorch"
        f" loop in fp32 (teacher VGG16, student convnet4, {images}; {machine['cpu']} with"
        f" {machine['instructions']}, {counted(extent['threads'], 'thread')}):\n\n"
        f"{table(head, [_medians(samples, setting) for setting in settings_of(samples)])}\n\n"
        f"Medians of {extent['rounds']} interleaved rounds (`make bench DATA=FOLDER`)."
    )


def _medians(samples: Samples, setting: str) -> list[str]:
    """The README's row of a setting."""
    computed = digits(of_solo(samples, setting, LOCKSTEP).median)
    if column(setting, CACHED_LOCKSTEP) not in samples:
        return [setting, computed, ""]
    return [setting, computed, digits(of_solo(samples, setting, CACHED_LOCKSTEP).median)]
