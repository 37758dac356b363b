"""The sweep that a word of the command line names."""

import json
from pathlib import Path

import pytest

from kdsweep.tracking.find_sweep import find_sweep
from kdsweep.tracking.metadata import SWEEP


def test_a_sweep_by_its_folder_its_name_or_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("multirun/day/time")
    folder.mkdir(parents=True)
    note = {"name": "T=1,4", "created": 0.0, "parent_run_id": "ab" * 16}
    (folder / SWEEP).write_text(json.dumps(note))
    for word in ("multirun/day/time", "day/time", "ab" * 16, "abab"):
        assert find_sweep(word) == folder
    for word in ("", "multirun/day", "cdcd", "elsewhere"):
        assert find_sweep(word) is None
