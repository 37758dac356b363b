"""Files that are damaged count as missing, and are named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdsweep.tracking.metadata import (
    find_result,
    read_fingerprint,
    read_result,
    read_run_config,
    read_run_metadata,
    read_sweep_metadata,
)

HARM = [
    b"",
    b'{"name": "T=1,4", "crea',
    b"\xff\xfe\x00\x80",
    b"[1, 2]",
    b"null",
    b'{"version": 3}',
    b'{"name": 3, "created": "now", "status": 1, "params": []}',
]
READERS: dict[str, Callable[[Path], Any]] = {
    "run.json": read_run_metadata,
    "result.json": read_result,
    "sweep.json": read_sweep_metadata,
    "config.yaml": read_run_config,
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_and_counts_as_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, harm: bytes
) -> None:
    (tmp_path / name).write_bytes(harm)
    assert READERS[name](tmp_path) is None
    assert READERS[name](tmp_path) is None
    assert caplog.text.count(f"{tmp_path / name} is passed over: it ") == 1


@pytest.mark.parametrize("name", READERS)
def test_a_folder_in_the_place_of_a_file_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / name).mkdir()
    assert READERS[name](tmp_path) is None
    assert f"{tmp_path / name} is passed over" in caplog.text


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert READERS[name](tmp_path) is None
    assert not caplog.text


def test_a_result_is_that_of_one_run(tmp_path: Path) -> None:
    result = {"status": "FINISHED", "fingerprint": "mine"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert find_result(tmp_path, "another") is None
    found = find_result(tmp_path, "mine")
    assert found is not None
    assert found.same_as is None, "what an older result.json lacks"
    assert read_fingerprint(tmp_path) == "mine"
