"""`kdsweep quantize`: smaller files of a classifier, and what they cost in accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.quantize.measure import Measured, measure
from kdsweep.deploy.quantize.variants import (
    QAT,
    QuantizeOptions,
    Variant,
    aware_variants,
    baselines,
    make_variants,
    teacher_variant,
)
from kdsweep.deploy.run_record import deploy_folder, record
from kdsweep.tracking.deployed import QUANTIZE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Quantized:
    """The files of a classifier in figures, first those in fp32."""

    folder: Path
    rows: list[Measured]
    calibrated_on: str
    measured_on: str
    recorded: str


def quantize(
    classifier: Classifier,
    folder: Path,
    options: QuantizeOptions,
    calibration: EvaluationImages,
    images: EvaluationImages,
    aware: Classifier | None = None,
    teacher: Classifier | None = None,
) -> Quantized:
    """Write what the options ask for, measure it, and record both with the classifier's run.

    Args:
        aware: the same network trained further with rounding; it gets a static int8 file, too.
        folder: of the files; made if it is not there.
        calibration: from which static int8 reads the ranges of activations, never test images.
        images: what accuracies are measured on.
        teacher: what the network learned from; it is measured, too.

    Raises UserError if a file cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variants = baselines(classifier, folder, calibration)
    variants += make_variants(classifier, folder, options, calibration)
    if aware is not None:
        variants += aware_variants(aware, options, calibration)
    if teacher is not None:
        variants.append(teacher_variant(teacher))
    rows = measure(variants, classifier.preprocessing, images)
    recorded = _record(classifier, folder, rows, (calibration, images), variants)
    if aware is not None:
        own = [replace(row, name=row.name.removeprefix(QAT)) for row in rows if QAT in row.name]
        _record(aware, deploy_folder(aware), own, (calibration, images), variants)
    return Quantized(folder, rows, calibration.name, images.name, recorded)


def _record(
    classifier: Classifier,
    folder: Path,
    rows: Sequence[Measured],
    images: tuple[EvaluationImages, EvaluationImages],
    variants: Sequence[Variant],
) -> str:
    """Keep rows, and those of the files that are in a folder, with the classifier's run."""
    calibration, measured = images
    facts = {
        "calibrated_on": calibration.name,
        "measured_on": measured.name,
        "images": len(measured),
        "split": measured.split,
        "weights_sha256": classifier.manifest.weights_sha256,
        "threads": torch.get_num_threads(),
        "rows": [row.to_json() for row in rows],
    }
    metrics: dict[str, float | None] = {}
    for row in rows:
        key = row.name.replace(" ", "_")
        metrics[f"{key}/bytes"] = row.num_bytes
        metrics[f"{key}/latency_ratio"] = row.seconds / rows[0].seconds
        metrics[f"{key}/{measured.split or 'images'}_acc"] = row.accuracy
    nearest = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    files = [file for variant in variants for file in variant.files if file.parent in nearest]
    return record(classifier, QUANTIZE, facts, metrics, files)


def show(found: Quantized, console: "Console") -> None:
    """Print the table, what it was measured on, and where it was recorded."""
    from kdsweep.tracking.printing import print_line, print_table

    print_table(console, table_of(found.rows))
    threads = torch.get_num_threads()
    print_line(console, f"calibrated on {found.calibrated_on}; accuracy on {found.measured_on}")
    print_line(
        console,
        "difference to torch fp32 in points, with its 95 % interval and McNemar's exact test;"
        f" latency of one image with {threads} thread{'s' if threads > 1 else ''}, the median of"
        " interleaved rounds",
    )
    print_line(console, f"files in {found.folder}; {found.recorded}")


def table_of(rows: Sequence[Measured]) -> "Table":
    """A row for each variant; the ratios are to the first."""
    from rich import box
    from rich.filesize import decimal
    from rich.table import Table

    from kdsweep.report.formatting import interval, p_value, percent, points

    table = Table("model", box=box.SIMPLE_HEAD)
    for header in ("size", "ratio", "accuracy", "difference", "p", "same class", "ms", "ratio"):
        table.add_column(header, justify="right", no_wrap=True)
    first = rows[0]
    for row in rows:
        against = row.against
        difference = (
            "" if against is None else f"{points(against.difference)} {interval(against.interval)}"
        )
        table.add_row(
            row.name,
            decimal(row.num_bytes),
            f"{row.num_bytes / first.num_bytes:.2f}",
            percent(row.accuracy),
            difference.replace("[", r"\["),
            "" if against is None else p_value(against.p),
            percent(row.same_class),
            f"{1000 * row.seconds:.3g}",
            f"{row.seconds / first.seconds:.2f}",
        )
    return table
