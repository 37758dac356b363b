"""Records of what was made of a run's network: JSON files in `deploy/` of its folder and in MLflow.

`kdsweep.deploy` writes them; reports read them, without torch.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdsweep.common.files import read_json

FOLDER = "deploy"  # below a run's folder, and among its artifacts in MLflow
PREFIX = "deploy/"  # of metrics in MLflow
EXPORT = "export-"  # how the names of the records of exported files begin
QUANTIZE, BENCH = "quantize", "bench"  # names of records
TEACHER, TORCH, ONNX = "teacher", "torch fp32", "ONNX fp32"  # rows of the record of `quantize`

Records = dict[str, Mapping[str, Any]]  # by their names, `quantize` for `deploy/quantize.json`

log = logging.getLogger(__name__)


def read_records(files: Iterable[Path]) -> Records:
    """The records in JSON files; a damaged one is left out with a warning."""
    found: Records = {}
    for path in files:
        try:
            found[path.stem] = read_json(path)
        except (OSError, ValueError) as error:
            log.warning("%s is passed over: %s", path, error)
    return found
