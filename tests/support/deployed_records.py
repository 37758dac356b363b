"""Records of `kdsweep export`, `quantize` and `bench`, as they are next to a run."""

from typing import Any

from kdsweep.tracking.deployed import Records

IMAGES = "the 1,000 test images of digits"


def measured(name: str, num_bytes: int, ms: float, accuracy: float | None, **other: Any) -> Any:
    """A row of `quantize`."""
    known = {"difference": None, "interval": None, "p": None, "same_class": 1.0}
    facts = {"name": name, "bytes": num_bytes, "latency_ms": ms, "accuracy": accuracy}
    return {**known, **facts, **other}


def quantized(*rows: Any, **other: Any) -> dict[str, Any]:
    """The record of `kdsweep quantize`."""
    facts = {"measured_on": IMAGES, "images": 1000, "split": "test", "threads": 1}
    return {**facts, "rows": list(rows), **other}


def rows_of_quantize() -> list[Any]:
    """A student, its int8 file and its teacher."""
    return [
        measured("torch fp32", 40_000, 0.2, 0.9),
        measured("ONNX fp32", 40_500, 0.1, 0.9, difference=0.0, interval=[-0.001, 0.001], p=1.0),
        measured("int8 static", 10_000, 0.05, 0.89, difference=-0.01, interval=[-0.02, 0.0], p=0.1),
        measured("teacher", 400_000, 2.0, 0.95, difference=0.05, interval=[0.03, 0.07], p=1e-5),
    ]


def exported() -> dict[str, Any]:
    """The record of `kdsweep export`."""
    return {
        "file": "model.onnx",
        "bytes": 40_500,
        "images": "the 300 validation images of digits",
        "count": 300,
        "same_class": 300,
        "largest_difference": 3e-6,
        "allowed_difference": 1e-4,
        "accuracy": 0.91,
        "torch_accuracy": 0.91,
    }


def benched(*names: str, accuracy: float | None = 0.9) -> dict[str, Any]:
    """The record of `kdsweep bench`, a row for each model."""
    row = {
        "runtime": "torch fp32",
        "parameters": 10_000,
        "macs": 20_000,
        "bytes": 40_000,
        "test/acc": accuracy,
        "latency_ms": 0.25,
        "best_batch": 64,
        "images_per_second": 12_345.6,
        "peak_memory_bytes": None,
    }
    return {"threads": 2, "rows": [{"model": name, **row} for name in names]}


def records(**other: Any) -> Records:
    """Those of `deploy=onnx_int8`."""
    return {"export-onnx": exported(), "quantize": quantized(*rows_of_quantize()), **other}
