"""Made experiments in MLflow: many runs without training one."""

import math
from pathlib import Path

from mlflow.entities import Metric, Param

from kdsweep.tracking.mlflow.store import MLflowStore

EPOCHS = 3
TERMS = ("train/loss", "train/ce", "train/acc", "lr", "val/loss", "val/ece", "images_per_second")
SETTINGS = [f"trainer.option{number}" for number in range(40)]  # as many params as a run has


def made_sweep(
    store: MLflowStore, home: Path, cells: int, seeds: int, noise: float = 0.0, **changes: str
) -> str:
    """A sweep of kl over T, with ce as its first cell; the id of its run.

    Without noise cells differ by the same over all seeds, and nothing can be tested.
    """
    parent = store.create_run(
        name=f"loss=ce,kl T=1:{cells} {home.name}",
        parent_id=None,
        tags={"kdsweep.role": "sweep", "kdsweep.folder": str(home)},
        params={},
    )
    for number in range(cells * seeds):
        place, seed = divmod(number, seeds)
        more = noise * math.sin(13.0 * place + seed)
        made_run(store, parent, home / str(number), place, seed, more, **changes)
    store.finish(parent, "FINISHED")
    return parent


def made_run(
    store: MLflowStore,
    parent: str,
    folder: Path,
    place: int,
    seed: int,
    noise: float = 0.0,
    **changes: str,
) -> str:
    """A finished run; the later its cell, the better it is."""
    cell = f"kl T={place} alpha=0.5" if place else "ce"
    name = f"{cell} seed={seed}"
    tags = {
        "mlflow.parentRunId": parent,
        "kdsweep.role": "run",
        "kdsweep.cell": cell,
        "kdsweep.folder": str(folder),
        "kdsweep.fingerprint": f"{folder.parent.name}-{folder.name}",
    }
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=name)
    params = {
        "loss": cell.split()[0],
        "seed": str(seed),
        "student": "mlp",
        "teacher": "cnn" if place else "none",
        "dataset": "digits",
        "dataset.name": "digits",
        "num_params": "682",
        **({"T": str(float(place)), "alpha": "0.5"} if place else {}),
        **dict.fromkeys(SETTINGS, "1"),
        **changes,
    }
    accuracy = 0.5 + 0.001 * place + 0.002 * (seed * 7 % 5) + noise
    values = dict.fromkeys(TERMS, 0.5) | {"val/acc": accuracy}
    metrics = [Metric(k, v, epoch, epoch) for epoch in range(EPOCHS) for k, v in values.items()]
    end = {"test/acc": accuracy - 0.01, "test/loss": 0.5, "test/ece": 0.1, "latency_ms": 0.05}
    end |= {"epochs": EPOCHS, "seconds": 1.0, "val/acc_best": accuracy}
    metrics += [Metric(k, float(v), EPOCHS, EPOCHS - 1) for k, v in end.items()]
    entities = [Param(key, value) for key, value in params.items()]
    store.client.log_batch(run.info.run_id, metrics=metrics, params=entities)
    store.finish(run.info.run_id, "FINISHED")
    return str(run.info.run_id)
