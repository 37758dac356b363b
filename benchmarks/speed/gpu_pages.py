"""What benchmarks/gpu.py writes: the samples as JSON, and the tables as Markdown."""

import json
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from speed.gpu_rows import TENSORS
from speed.machine import describe_machine
from speed.rounds import Samples, Spread, digits, ratio


@dataclass
class Measured:
    """A row of results.

    Attributes:
        students: of each column.
        failed: reasons, by column.
        peaks: of memory in MiB, by column; on CUDA alone.
        differences: from the loop, by experiment.
    """

    work: str
    form: str
    images: int  # in a batch
    batches: int  # in a round
    samples: Samples = field(default_factory=dict)
    students: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)


def describe(device: str, threads: int) -> dict[str, str]:
    """The machine, with the card's driver and libraries."""
    described = describe_machine(device, threads)
    if torch.device(device).type == "cuda":
        described |= {
            "driver": driver(),
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
        }
    return described


def driver() -> str:
    """The version of the card's driver; `unknown` without nvidia-smi."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.split("\n")[0].strip() or "unknown"


def write(folder: Path, machine: dict[str, str], rows: list[Measured], note: str = "") -> None:
    """`gpu.json` and `gpu.md`, with all rows there are so far."""
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"machine": machine, "note": note, "rows": [vars(r) for r in rows]}
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "gpu.md").write_text(page(machine, rows, note))


def page(machine: dict[str, str], rows: list[Measured], note: str) -> str:
    """All tables."""
    facts = "\n".join(f"| {name} | {value} |" for name, value in machine.items())
    parts = ["# Training steps", summary(rows), f"| machine | |\n|---|---|\n{facts}", EXPLANATION]
    parts += [table(row) for row in rows] + ([note] if note else [])
    return "\n\n".join(parts) + "\n"


EXPLANATION = (
    "*loop*: a plain PyTorch loop for one run, with PyTorch's default kernels, which in fp32 are"
    " TF32 for convolutions on a GPU that has it. *lockstep N*: N students of kdsweep. *floor N*:"
    " the bare steps of N students on ready images and teacher's logits, with the kernels of"
    " kdsweep (deterministic, no TF32) or PyTorch's default ones.\n\n"
    "*ms*: of one batch of all students of a row, median (smallest..largest) of interleaved rounds."
    " *per student*: divided by their number. *of the loop*: relative to as many runs of the loop"
    " on ready images, in the same rounds. *of the floor*: relative to the bare steps of as many"
    " students. *MiB*: the peak of a GPU's memory beyond what was in use before the row."
)


def summary(rows: list[Measured]) -> str:
    """One line for each row of results: its lockstep, relative to the loop and to its floor."""
    lines = ["| networks, form | students | of the loop | of the floor |", "|---|---|---|---|"]
    lines += [
        f"| {row.work}, {row.form} | {row.students[column]} | {of_loop(row, column)} |"
        f" {of_floor(row, column)} |"
        for row in rows
        for column in row.samples
        if column.startswith("lockstep") and row.samples[column]
    ]
    return "\n".join(lines)


def of_loop(row: Measured, column: str) -> str:
    """A column relative to as many runs of the loop; empty if that was not timed."""
    loop = row.samples.get(TENSORS)
    return str(ratio(row.samples[column], *[loop] * row.students[column])) if loop else ""


def of_floor(row: Measured, column: str) -> str:
    """A column relative to the bare steps of as many students; empty if they were not timed."""
    floor = row.samples.get(f"floor {row.students[column]}")
    return str(ratio(row.samples[column], floor)) if floor else ""


def table(row: Measured) -> str:
    """One row of results as a table of its columns."""
    rounds = max((len(seconds) for seconds in row.samples.values()), default=0)
    title = (
        f"## {row.work}, {row.form}\n\nBatches of {row.images} images, {row.batches} in a round;"
        f" rounds: {rounds}."
    )
    lines = ["| column | students | ms | per student | of the loop | of the floor | MiB |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [line(row, column) for column in row.samples if row.samples[column]]
    notes = [bits(name, figures) for name, figures in row.differences.items()]
    notes += [f"{name} is left out: {reason}." for name, reason in row.failed.items()]
    return "\n\n".join([title, "\n".join(lines), *notes])


def line(row: Measured, column: str) -> str:
    count, seconds = row.students[column], row.samples[column]
    scale = 1000 / row.batches
    spread = Spread.of([scale * value for value in seconds])
    each = digits(scale * statistics.median(seconds) / count)
    peak = f"{row.peaks[column]:.0f}" if column in row.peaks else ""
    ratios = f"{of_loop(row, column)} | {of_floor(row, column)}"
    return f"| {column} | {count} | {spread} | {each} | {ratios} | {peak} |"


def bits(name: str, figures: dict[str, float]) -> str:
    """The sentence about an experiment's results."""
    return (
        f"{name}: weights after {figures['steps']:.0f} steps, compared with those of the loop over"
        f" the same students: {figures['equal']:.0%} of the tensors have the same bits; the largest"
        f" difference is {figures['largest']:.1e} of the largest value."
    )
