"""Accuracy in bf16 and channels_last against fp32 contiguous: the table of docs/performance.md.

    make accuracy DATA=FOLDER                              # trains, then writes the page
    python benchmarks/precision_accuracy.py --data FOLDER  # trains what is missing, then prints
    python benchmarks/precision_accuracy.py                # prints what was trained
    python benchmarks/precision_accuracy.py --write        # writes the page from it

FOLDER holds train/<class>/ and test/<class>/, for docs/performance.md the first 500 and 100 images
of each class of CIFAR-10. One teacher, trained in fp32, is the teacher of all runs; its forward
pass is in the precision and the memory format of its students. Runs with the same seed share
initialisation, order and augmentation, so differences are paired by seed; the last epoch, test
images evaluated once. An interrupted command continues where it stopped.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speed.machine import describe_machine
from speed.pages import write_blocks
from speed.tables import table

from kdsweep.tracking.results_table import collect

TOP = Path(__file__).parents[1]
FOLDER = Path("multirun/precision_accuracy")
RESULTS = Path(__file__).with_suffix(".json")
BLOCK = "accuracy"  # of the page
SEEDS, EPOCHS = 5, 6
REFERENCE = "fp32 contiguous"
SETTINGS = {
    REFERENCE: ("fp32", "contiguous"),
    "fp32 channels_last": ("fp32", "channels_last"),
    "bf16 channels_last": ("bf16", "channels_last"),
}
METRICS = ("val/acc", "test/acc")
MOST = 2.0  # paired standard errors that the mean of a cell may move by
RECIPE = (
    *("dataset=image_folder", "dataset.val_fraction=0.5", "teacher=resnet20", "student=convnet4"),
    *("dataset.augment.crop_padding=4", "dataset.augment.flip=true", "trainer.batch_size=64"),
    *("optimizer=adamw", "optimizer.lr=0.003", "schedule=onecycle"),
    *("teacher.trainer.epochs=12", "teacher.schedule.milestones=[8,11]"),
    "teacher.trainer.memory_format=contiguous",
    *("loss=kl", "T=1,4,16", "alpha=0.9", "tracking=none", "tracking.report=false"),
)

Row = Mapping[str, Any]  # of a sweep's results.csv
Results = Mapping[str, Any]  # of the JSON file: machine, extent, rows by setting


@dataclass(frozen=True)
class Paired:
    """The mean of differences paired by seed, in percentage points, and its standard error."""

    mean: float
    error: float

    @staticmethod
    def of(differences: Sequence[float]) -> "Paired":
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        return Paired(statistics.fmean(differences), error)

    @property
    def holds(self) -> bool:
        """Whether the mean is within so many standard errors of zero."""
        return abs(self.mean) <= MOST * self.error

    def __str__(self) -> str:
        """`-0.24 (0.31)`."""
        return f"{self.mean:+.2f} ({self.error:.2f})"


def main(words: Sequence[str] | None = None) -> int:
    """Train what is missing, or print or write the table; 3 if a cell moves by more."""
    options = parse_options(words)
    if options.data is not None:
        rows = {name: train(name, options) for name in SETTINGS}
        extent = {"seeds": options.seeds, "epochs": options.epochs}
        results = {"machine": describe_machine("cpu", 1), "extent": extent, "rows": rows}
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    known = json.loads(options.out.read_text())
    text = report(known)
    print(text)
    if options.write:
        write_blocks(TOP / "docs" / "performance.md", {BLOCK: text})
    return 0 if all(paired.holds for paired in moved(known)) else 3


def train(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs of a precision and memory format: cell, seed and accuracies of each."""
    sweep = FOLDER / name.replace(" ", "-")
    command = [
        *(sys.executable, str(TOP / "train.py"), *RECIPE, *words_of(name)),
        *(f"dataset.root={options.data.resolve()}", f"seed=range({options.seeds})"),
        *(f"trainer.epochs={options.epochs}", f"hydra.sweep.dir={sweep}"),
        f"resume={str(sweep.is_dir()).lower()}",
    ]
    print(f"{name}:", flush=True)
    subprocess.run(command, check=True)
    keys = ("cell", "seed", *METRICS)
    return [{key: row[key] for key in keys} for row in collect(sweep)]


def words_of(name: str) -> tuple[str, ...]:
    """The overrides of a precision and memory format, of the students and of their teacher."""
    precision, memory_format = SETTINGS[name]
    return tuple(
        f"{node}.{key}={value}"
        for node in ("trainer", "teacher")
        for key, value in (("precision", precision), ("memory_format", memory_format))
    )


def report(results: Results) -> str:
    """The table with what it was measured with, and the verdict."""
    machine, extent = results["machine"], results["extent"]
    heading = (
        f"{machine['cpu']}; instructions {machine['instructions']}, torch {machine['torch']}."
        f" {extent['seeds']} seeds, {extent['epochs']} epochs."
    )
    return f"{heading}\n\n{accuracy_table(results['rows'])}\n\n{verdict(results)}"


def accuracy_table(rows: Mapping[str, Sequence[Row]]) -> str:
    """Of each cell: accuracy of the reference in percent, differences of the others in points."""
    others = [name for name in rows if name != REFERENCE]
    head = ["cell", "accuracy", REFERENCE, *(f"{name} (paired se)" for name in others)]
    lines = []
    for cell in cells(rows[REFERENCE]):
        for metric in METRICS:
            base = accuracies(rows[REFERENCE], cell, metric).values()
            pairs = (str(paired(rows, name, cell, metric)) for name in others)
            lines.append([cell, metric, f"{statistics.fmean(base):.2f}", *pairs])
    for metric in METRICS:
        pairs = (str(paired_over_cells(rows, name, metric)) for name in others)
        lines.append(["all cells", metric, "", *pairs])
    return table(head, lines)


def verdict(results: Results) -> str:
    """How many means of cells are within the bound."""
    means = list(moved(results))
    within = sum(one.holds for one in means)
    return f"{within} of {len(means)} means of cells are within {MOST:.0f} paired standard errors."


def moved(results: Results) -> list[Paired]:
    """How the mean of every cell differs from the reference, in every setting and metric."""
    rows = results["rows"]
    return [
        paired(rows, name, cell, metric)
        for name in rows
        if name != REFERENCE
        for cell in cells(rows[REFERENCE])
        for metric in METRICS
    ]


def paired(rows: Mapping[str, Sequence[Row]], name: str, cell: str, metric: str) -> Paired:
    """The difference of a cell to the reference, paired by seed."""
    return Paired.of(list(differences(rows, name, cell, metric).values()))


def paired_over_cells(rows: Mapping[str, Sequence[Row]], name: str, metric: str) -> Paired:
    """The same of the mean over all cells: those of a seed are not independent."""
    by_cell = [differences(rows, name, cell, metric) for cell in cells(rows[REFERENCE])]
    return Paired.of([statistics.fmean(one[seed] for one in by_cell) for seed in by_cell[0]])


def differences(
    rows: Mapping[str, Sequence[Row]], name: str, cell: str, metric: str
) -> dict[int, float]:
    """By seed, in percentage points."""
    base = accuracies(rows[REFERENCE], cell, metric)
    return {seed: acc - base[seed] for seed, acc in accuracies(rows[name], cell, metric).items()}


def accuracies(rows: Sequence[Row], cell: str, metric: str) -> dict[int, float]:
    """Percent, by seed."""
    return {row["seed"]: 100 * row[metric] for row in rows if row["cell"] == cell}


def cells(rows: Sequence[Row]) -> list[str]:
    """The cells, in the order of the sweep."""
    return list(dict.fromkeys(row["cell"] for row in rows))


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of images: train what is missing")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file of the results")
    parser.add_argument("--write", action="store_true", help="the page, too")
    options = parser.parse_args(words)
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2, got {options.seeds}")
    return options


if __name__ == "__main__":
    sys.exit(main())
