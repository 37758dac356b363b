"""Results of `make bench`, as in its JSON file, made for its tests."""

from typing import Any


def results(lockstep: float = 1.0) -> dict[str, Any]:
    """As in the JSON file, of two rounds; nine runs alone take 4 s."""
    row = {"alone": 3.6, "lockstep": lockstep, "teacher": 0.2, "floor": 0.75}
    row |= {"cached alone": 0.9, "cached lockstep": 0.8}
    samples = {"solo": [4.0, 8.0]}
    samples |= {f"fp32 auto: {name}": [value, 2 * value] for name, value in row.items()}
    kinds = ("with MLflow and report", "with neither")
    return {
        "machine": {"cpu": "Made CPU", "instructions": "AVX2", "cores": "2", "threads": "1"},
        "extent": {
            **{"rounds": 2, "batches": {"vgg": 2, "resnet": 1}, "alone": 3, "threads": 1},
            **{"command_rounds": 1, "real": True},
        },
        "seconds": {
            **{"vgg": 60, "resnet": 60, "digits": 3, "starts": 60, "sweeps": 60},
            **{"workers": 60, "memory": 9},
        },
        "steps": {"vgg": samples, "resnet": samples},
        "starts": {
            **{"import torch": [2.0], "import hydra, compose": [1.0], "train.py --help": [1.4]},
            **{"digits, cold": [12.0], "digits, warm": [5.0]},
        },
        "sweeps": {
            "torch": [2.0],
            "whole": {kind: {"60": [20.0], "10": [9.0]} for kind in kinds},
            "training": {kind: {"60": [3.0], "10": [2.0]} for kind in kinds},
            **{"run_bytes": 123456, "sweep_bytes": 7000, "mlflow_bytes": 20000},
        },
        "workers": {"1 worker": [100.0], "2 workers": [55.0]},
        "memory": {
            "vgg": {
                "1": {"peak": 600 * 2**20, "state": 3 * 2**20},
                "9": {"peak": 632 * 2**20, "state": 3 * 2**20},
            }
        },
    }


def steps_only(lockstep: float = 1.0) -> dict[str, Any]:
    """The results of the training steps."""
    return {key: results(lockstep)[key] for key in ("machine", "extent", "steps")}


def on_request() -> dict[str, Any]:
    """Results of the parts that are measured on request only."""
    whole = {"10": [10.0], "60": [20.0], "500": [110.0]}
    training = {"10": [2.0], "60": [7.0], "500": [51.0]}
    kind = "with MLflow and report"
    seconds = {"this checkout": [20.0, 22.0], "the other one": [80.0, 44.0]}
    return {
        "many": {"torch": [2.0], "whole": {kind: whole}, "training": {kind: training}},
        "against": {
            f"{kind}, {checkout}": values
            for kind in (kind, "with neither")
            for checkout, values in seconds.items()
        },
    }
