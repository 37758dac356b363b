"""`kdsweep bench`: models in one table, timed in turns, and accuracy against latency in a plot."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from kdsweep.common.text import counted
from kdsweep.deploy.bench.accuracy import AccuracyOnTest
from kdsweep.deploy.bench.batches import Speed, measure_speed
from kdsweep.deploy.bench.contenders import Contender, contenders_of
from kdsweep.deploy.bench.cost import num_macs, num_parameters
from kdsweep.deploy.bench.peak_memory import peak_bytes
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.run_record import record
from kdsweep.plotting.drawing import warn_on_failure
from kdsweep.plotting.tradeoff import TradeoffPoint, draw_tradeoff
from kdsweep.report.sources.address import Address
from kdsweep.tracking.deployed import BENCH, TORCH

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class BenchRow:
    """A model as one runtime runs it, in figures."""

    model: str
    runtime: str
    parameters: int
    macs: int
    num_bytes: int
    accuracy: float | None  # on the test set, in [0, 1]; None if the set is not here
    speed: Speed
    peak_memory: int | None  # bytes, with the best batch

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "runtime": self.runtime,
            "parameters": self.parameters,
            "macs": self.macs,
            "bytes": self.num_bytes,
            "test/acc": self.accuracy,
            "latency_ms": 1000 * self.speed.latency,
            "best_batch": self.speed.best_batch,
            "images_per_second": self.speed.throughput,
            "peak_memory_bytes": self.peak_memory,
        }


def use_threads(count: int | None) -> None:
    """Let torch, and ONNX Runtime as it, use this many threads; None: as they are."""
    if count is not None:
        torch.set_num_threads(count)


def bench(models: Sequence[tuple[str, Classifier]], *, memory: bool = True) -> list[BenchRow]:
    """Every classifier, by its name in the table, as each runtime runs it.

    ``memory``: a process of its own for each measures what it takes. Raises UserError if one cannot
    be exported to ONNX.
    """
    with ExitStack() as stack:
        contenders: list[Contender] = []
        for name, classifier in models:
            scratch = Path(stack.enter_context(TemporaryDirectory()))
            contenders += contenders_of(classifier, name, scratch)
        speeds = measure_speed(
            {one.name: one.run for one in contenders},
            {one.name: one.classifier.preprocessing.in_shape for one in contenders},
        )
        on_test = AccuracyOnTest()
        return [_row(one, speeds[one.name], on_test, memory=memory) for one in contenders]


def _row(contender: Contender, speed: Speed, on_test: AccuracyOnTest, *, memory: bool) -> BenchRow:
    classifier = contender.classifier
    shape = classifier.preprocessing.in_shape
    kind = "torch" if contender.runtime == TORCH else "onnx"
    accuracy, peak = on_test.measure(classifier, contender.run), None
    if accuracy is None and contender.runtime == TORCH:
        accuracy = on_test.recorded(classifier)
    if memory and contender.path is not None:
        peak = peak_bytes(kind, contender.path, speed.best_batch, shape)
    return BenchRow(
        contender.model,
        contender.runtime,
        num_parameters(classifier.module),
        num_macs(classifier.module, classifier.preprocessing),
        contender.num_bytes,
        accuracy,
        speed,
        peak,
    )


def draw(rows: Sequence[BenchRow], path: Path) -> None:
    """Accuracy against latency, of the rows whose accuracy is known; nothing without any."""
    points = [
        TradeoffPoint(row.model, row.runtime, 1000 * row.speed.latency, row.accuracy)
        for row in rows
        if row.accuracy is not None
    ]
    if points:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warn_on_failure(str(path)):
            draw_tradeoff(points, path, f"Accuracy and latency, {_threads()}")


def record_bench(
    models: Sequence[tuple[str, Classifier]],
    rows: Sequence[BenchRow],
    plot: Path,
    address: Address | None = None,
) -> None:
    """Record the table and the plot with the run of each classifier.

    ``address``: the MLflow store, by default that of each run.
    """
    facts = to_json(rows)
    for name, classifier in models:
        metrics: dict[str, float | None] = {}
        for row in rows:
            if row.model == name:
                key = row.runtime.replace(" ", "_")
                metrics[f"{key}/latency_ms"] = 1000 * row.speed.latency
                metrics[f"{key}/images_per_second"] = row.speed.throughput
        record(classifier, BENCH, facts, metrics, [plot] if plot.is_file() else [], address)


def to_json(rows: Sequence[BenchRow]) -> dict[str, Any]:
    """The table as plain values."""
    return {"threads": torch.get_num_threads(), "rows": [row.to_json() for row in rows]}


def _threads() -> str:
    return counted(torch.get_num_threads(), "thread")


def show(rows: Sequence[BenchRow], plot: Path, console: "Console") -> None:
    """Print the table and how it was measured."""
    from kdsweep.tracking.printing import print_line, print_table

    print_table(console, table_of(rows))
    print_line(
        console,
        f"{_threads()}; medians of interleaved rounds; memory of one process with the best batch",
    )
    if plot.is_file():
        print_line(console, f"plot   {plot}")


def table_of(rows: Sequence[BenchRow]) -> "Table":
    """A row for each model and runtime."""
    from rich import box
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    from kdsweep.report.formatting import percent

    table = Table("model", "runtime", box=box.SIMPLE_HEAD)
    headers = ("test %", "params", "MACs", "size", "ms", "best batch", "images/s", "memory")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(row.model),
            row.runtime,
            percent(row.accuracy),
            f"{row.parameters:,}",
            f"{row.macs:,}",
            decimal(row.num_bytes),
            f"{1000 * row.speed.latency:.3g}",
            str(row.speed.best_batch),
            f"{row.speed.throughput:,.0f}",
            "" if row.peak_memory is None else decimal(row.peak_memory),
        )
    return table
