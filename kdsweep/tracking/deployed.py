"""Records of what was made of a run's network: JSON files in `deploy/` of its folder and in MLflow.

`kdsweep.deploy` writes them; reports read them, without torch.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from kdsweep.common.files import read_json
from kdsweep.common.notices import warn_once

FOLDER = "deploy"  # below a run's folder, and among its artifacts in MLflow
PREFIX = "deploy/"  # of metrics in MLflow
QAT_FOLDER = "qat-"  # how the names of folders of `kdsweep quantize --qat` begin
EXPORT = "export-"  # how the names of the records of exported files begin
QUANTIZE, BENCH = "quantize", "bench"  # names of records
TEACHER, TORCH, ONNX = "teacher", "torch fp32", "ONNX fp32"  # rows of the record of `quantize`

Records = dict[str, Mapping[str, Any]]  # by their names, `quantize` for `deploy/quantize.json`

# The keys, with their types, that a record and its rows must have.
Types = Mapping[str, type | tuple[type, ...]]
NUMBER = (int, float)
SHARE = (int, float, NoneType)  # None where images have no labels
EXPORT_TYPES: Types = {
    "file": str,
    "bytes": int,
    "images": str,
    "count": int,
    "same_class": int,
    "largest_difference": NUMBER,
    "accuracy": SHARE,
}
RECORD_TYPES: Mapping[str, Types] = {
    QUANTIZE: {"measured_on": str, "images": int, "threads": int, "rows": list},
    BENCH: {"threads": int, "rows": list},
}
ROW_TYPES: Mapping[str, Types] = {
    QUANTIZE: {
        "name": str,
        "bytes": int,
        "latency_ms": NUMBER,
        "accuracy": SHARE,
        "difference": SHARE,
        "interval": (list, NoneType),
        "p": SHARE,
    },
    BENCH: {
        "model": str,
        "runtime": str,
        "parameters": int,
        "macs": int,
        "bytes": int,
        "test/acc": SHARE,
        "latency_ms": NUMBER,
        "best_batch": int,
        "images_per_second": NUMBER,
        "peak_memory_bytes": (int, NoneType),
    },
}


def read_records(files: Iterable[Path]) -> Records:
    """The records in JSON files; one that is damaged or has another content is left out.

    A warning names it. Files with other names than those of records are ignored.
    """
    records: Records = {}
    for path in files:
        name = path.stem
        if name not in RECORD_TYPES and not name.startswith(EXPORT):
            continue
        try:
            content = read_json(path)
            _check(name, content)
        except (OSError, ValueError) as error:
            warn_once(f"{path} is passed over: {error}", path.absolute())
        else:
            records[name] = content
    return records


def _check(name: str, content: Mapping[str, Any]) -> None:
    """Raise ValueError unless a record has all that a report reads."""
    _check_types(content, RECORD_TYPES.get(name, EXPORT_TYPES), "it")
    if name not in ROW_TYPES:
        return
    for number, row in enumerate(content["rows"]):
        _check_types(row, ROW_TYPES[name], f"row {number}")
        ends = row.get("interval") or [0, 0]
        if len(ends) != 2 or not all(isinstance(end, NUMBER) for end in ends):
            raise ValueError(f"row {number} has no 'interval' as kdsweep writes it")


def _check_types(content: Any, types: Types, what: str) -> None:
    known = content if isinstance(content, Mapping) else {}
    for key, kind in types.items():
        if key not in known or not isinstance(known[key], kind):
            raise ValueError(f"{what} has no {key!r} as kdsweep writes it")
