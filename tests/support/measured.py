"""Made grids over T and alpha whose runs have histories, as a report reads them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import NOISE, Row, row

from kdsweep.report.analysis.aggregate import grid
from kdsweep.report.sections.section import Section
from kdsweep.report.sources.collection import RunCollection
from kdsweep.tracking.deployed import Records
from kdsweep.tracking.run_dir import make_row

EPOCHS = 10
PEAK = EPOCHS - 3  # the epoch that is best on test where there is an optimism gap
SHARED = {"T": None, "alpha": None, "student": "mlp", "teacher": None}


@dataclass
class MeasuredRun:
    """A `Run` of `report.sources` without predictions; it counts how often its history is read."""

    row: Row
    optimism: float | None = None  # best epoch on test minus the last one; None: not measured
    reads: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    predictions: None = None
    teacher_predictions: None = None
    deployed: Records = field(default_factory=dict)

    @property
    def history(self) -> list[Any]:
        self.reads += 1
        if self.row["val/acc"] is None:
            return []
        return [make_row(epoch, epoch, self._metrics(epoch)) for epoch in range(EPOCHS)]

    def _metrics(self, epoch: int) -> dict[str, float]:
        share = 1.0 if epoch == EPOCHS - 1 else 1 - 0.5 ** (epoch + 1)  # of the last epoch's value
        val = self.row["val/acc"] * share
        metrics = {"val/acc": val, "train/acc": min(1.0, val + 0.05)}
        if self.optimism is not None:
            end = self.row["test/acc"]
            metrics["test_curve/acc"] = end + self.optimism if epoch == PEAK else end * share
        return metrics


def measured(
    made: Sequence[Row], home: Path = Path(), optimism: float | None = None, **other: Any
) -> RunCollection:
    """Made runs of these rows; ``other`` goes to `RunCollection`."""
    return RunCollection(
        "loss=ce,kl T=1,4", [MeasuredRun(r, optimism) for r in made], home, **other
    )


def soft_row(T: float, alpha: float, seed: int, acc: float, rest: str = "", **other: Any) -> Row:
    """A row of kl at a point of T and alpha; ``rest`` are further words of its cell."""
    cell = f"kl T={T:g} alpha={alpha:g}{f' {rest}' if rest else ''}"
    ours = {**SHARED, "T": T, "alpha": alpha, "teacher": "cnn", **other}
    return row(cell, seed, acc, **ours)


def ce_rows(acc: float = 0.8, seeds: int = 5, **other: Any) -> list[Row]:
    """The baseline."""
    noise = [NOISE[(2 * seed) % 5] for seed in range(seeds)]
    return [row("ce", seed, acc + noise[seed], **{**SHARED, **other}) for seed in range(seeds)]


def soft_rows(
    Ts: Sequence[float] = (1, 4, 16),
    alphas: Sequence[float] = (0.5, 0.9),
    seeds: int = 5,
    rest: str = "",
    **other: Any,
) -> list[Row]:
    """A grid in which T=4 is best by far and alpha hardly matters; boxes differ in their noise."""
    return [
        soft_row(
            T,
            alpha,
            seed,
            (0.93 if T == 4 else 0.86) + 0.001 * alpha + 0.3 * NOISE[(seed + 2 * a + t) % 5],
            rest,
            **other,
        )
        for t, T in enumerate(Ts)
        for a, alpha in enumerate(alphas)
        for seed in range(seeds)
    ]


SIZES = {"mlp": 9000, "cnn": 90_000, "vit": 900_000}


def several_students() -> list[Row]:
    return [
        {**r, "student": name, "num_params": size, "latency_ms": size / 1e5, "test/acc": acc}
        for (name, size), bonus in zip(SIZES.items(), (0.0, 0.04, -0.02), strict=True)
        for r in soft_rows((4.0,), (0.5,), rest=f"student={name}")
        if (acc := r["test/acc"] + bonus)
    ]


def section_of(module: Any, made: Sequence[Row], **other: Any) -> Section | None:
    """The section that a module makes of these rows."""
    collection = measured(made, **other)
    section: Section | None = module.section(collection, grid(collection.rows))
    return section


def drawn_section(module: Any, made: Sequence[Row]) -> Section:
    """The section, which must exist."""
    section = section_of(module, made)
    assert section is not None
    return section


def text(section: Section) -> str:
    return " ".join(section.sentences)
