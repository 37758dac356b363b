"""Made rows of a sweep, as `kdsweep.tracking.results_table.collect` gives them."""

from typing import Any

Row = dict[str, Any]

NOISE = [0.0, 0.01, -0.01, 0.005, -0.002]


def row(cell: str, seed: int, test: float | None, **other: Any) -> Row:
    found = {
        "cell": cell,
        "name": f"{cell} seed={seed}",
        "seed": seed,
        "loss": cell.split()[0],
        "status": "FINISHED" if test is not None else "FAILED",
        "same_as": None,
        "test/acc": test,
        "val/acc": test,
        "val/loss": None,
    }
    return {**found, **other}


def rows(cell: str, mean: float, spread: float = 1.0, seeds: int = 5, **other: Any) -> list[Row]:
    """Five seeds around a mean, the noise of every cell the same but for its spread."""
    return [row(cell, seed, mean + spread * NOISE[seed], **other) for seed in range(seeds)]
