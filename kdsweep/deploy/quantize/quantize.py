"""`kdsweep quantize`: smaller files of a classifier, and what they cost in accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kdsweep.common.files import write_json_atomic
from kdsweep.common.text import counted
from kdsweep.config.validate import QUANTIZED
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages
from kdsweep.deploy.quantize.earlier import earlier_aware, earlier_variants
from kdsweep.deploy.quantize.measure import Measured, measure
from kdsweep.deploy.quantize.variants import (
    QAT,
    QuantizeOptions,
    aware_variants,
    baselines,
    make_variants,
    row_name,
    teacher_variant,
)
from kdsweep.deploy.run_record import deploy_folder, record
from kdsweep.deploy.source_run import run_folder
from kdsweep.report.sources.address import Address
from kdsweep.tracking.deployed import QUANTIZE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Quantized:
    """The files of a classifier in figures, first those in fp32."""

    folder: Path
    rows: list[Measured]
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
    address: Address | None = None,
) -> Quantized:
    """Write what the options name, and measure it together with what earlier commands have written.

    In `deploy/` of the classifier's run, files and figures are recorded with the run; a folder
    elsewhere gets the figures, `quantize.json`, and the run is left as it is.

    Args:
        folder: of the files; made if it is not there.
        calibration: from which static int8 reads the ranges of activations, never test images.
        images: what accuracies are measured on.
        aware: the same network trained further with rounding; it gets a static int8 file, too.
        teacher: what the network learned from; it is measured, too.
        address: the MLflow store to record in, by default that of the run.

    Raises UserError if a file cannot be made.
    """
    run = run_folder(classifier)
    is_of_run = run is not None and folder.resolve() == deploy_folder(classifier).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    variants = baselines(classifier, folder, calibration)
    made = list(make_variants(classifier, folder, options, calibration))
    earlier = earlier_variants(classifier, folder, without=options.methods)
    order = [row_name(method) for method in QUANTIZED]
    variants += sorted([*made, *earlier], key=lambda variant: order.index(variant.name))
    if aware is not None:
        variants += aware_variants(aware, options, calibration)
    elif run is not None and is_of_run:
        variants += earlier_aware(run)
    if teacher is not None:
        variants.append(teacher_variant(teacher))
    rows = measure(variants, classifier.preprocessing, images)
    facts = _facts(classifier, rows, images)
    written = [file for variant in (variants[1], *made) for file in variant.files]
    if is_of_run or run is None:
        metrics = _metrics(rows, images)
        recorded = record(classifier, QUANTIZE, facts, metrics, written, address)
    else:
        write_json_atomic(folder / f"{QUANTIZE}.json", facts)
        recorded = f"figures in {folder / QUANTIZE}.json, not logged: it is not a run's folder"
    if aware is not None:
        _record_aware(aware, rows, images, address)
    return Quantized(folder, rows, images.name, recorded)


def _record_aware(
    aware: Classifier, rows: Sequence[Measured], images: EvaluationImages, address: Address | None
) -> None:
    """Record the rows and the files of a network that was trained with rounding with its run."""
    own = [
        replace(row, name=row.name.removeprefix(QAT)) for row in rows if row.name.startswith(QAT)
    ]
    files = sorted(deploy_folder(aware).glob("*.onnx"))
    facts, metrics = _facts(aware, own, images), _metrics(own, images)
    record(aware, QUANTIZE, facts, metrics, files, address)


def _facts(
    classifier: Classifier, rows: Sequence[Measured], images: EvaluationImages
) -> dict[str, Any]:
    """The content of `quantize.json`."""
    return {
        "measured_on": images.name,
        "images": len(images),
        "split": images.split,
        "weights_sha256": classifier.manifest.weights_sha256,
        "threads": torch.get_num_threads(),
        "rows": [row.to_json() for row in rows],
    }


def _metrics(rows: Sequence[Measured], images: EvaluationImages) -> dict[str, float | None]:
    """What MLflow has of the rows."""
    metrics: dict[str, float | None] = {}
    for row in rows:
        key = row.name.replace(" ", "_")
        metrics[f"{key}/bytes"] = row.num_bytes
        metrics[f"{key}/latency_ratio"] = row.seconds / rows[0].seconds
        metrics[f"{key}/{images.split or 'images'}_acc"] = row.accuracy
    return metrics


def show(quantized: Quantized, console: "Console") -> None:
    """Print the table, what it was measured on, and where it was recorded."""
    from kdsweep.tracking.printing import print_line, print_table

    print_table(console, table_of(quantized.rows))
    for row in quantized.rows:
        if row.calibration is not None:
            print_line(console, f"{row.name}: calibrated by {row.calibration}")
    print_line(
        console,
        f"accuracy on {quantized.measured_on}; difference to torch fp32 in points, with its 95 %"
        " interval and McNemar's exact test; latency of one image with"
        f" {counted(torch.get_num_threads(), 'thread')}, the median of interleaved rounds",
    )
    print_line(console, f"files in {quantized.folder}; {quantized.recorded}")


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
