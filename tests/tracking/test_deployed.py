"""Records of what was made of a run's network, as a report reads them."""

import json
from pathlib import Path
from typing import Any

import pytest
from deployed_records import benched, exported, quantized, records, rows_of_quantize

from kdsweep.tracking.deployed import read_records


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / f"{name}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_records_are_read_by_their_names(tmp_path: Path) -> None:
    known = records(bench=benched("kl"))
    files = [written(tmp_path, name, content) for name, content in known.items()]
    assert read_records([*files, written(tmp_path, "notes", {"mine": 1})]) == known


DAMAGED = {
    "half a file": ("quantize", '{"rows": [', "must be a JSON file"),
    "a list": ("bench", [1], "must hold a JSON object"),
    "another program's": ("quantize", {"bits": 8}, "it has no 'measured_on'"),
    "rows that are no list": ("bench", {"threads": 1, "rows": 3}, "it has no 'rows'"),
    "a row that is no object": ("bench", {"threads": 1, "rows": ["x"]}, "row 0 has no 'model'"),
    "a row without a figure": (
        "quantize",
        quantized({**rows_of_quantize()[0], "latency_ms": "0.2"}),
        "row 0 has no 'latency_ms'",
    ),
    "half an interval": (
        "quantize",
        quantized(*rows_of_quantize()[:1], {**rows_of_quantize()[1], "interval": [0.1]}),
        "row 1 has no 'interval'",
    ),
    "an export without a file": ("export-onnx", {**exported(), "file": None}, "it has no 'file'"),
}


@pytest.mark.parametrize(("name", "content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_or_foreign_one_is_left_out_with_a_warning(
    name: str, content: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, name, content)
    whole = written(tmp_path, "export-pt2", exported())
    assert read_records([path, whole]) == {"export-pt2": exported()}
    (message,) = caplog.messages
    assert message.startswith(f"{path} is passed over: ")
    assert reason in message
