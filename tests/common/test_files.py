import json
import math
from pathlib import Path

import pytest

from kdsweep.common import files
from kdsweep.common.files import can_be_made, read_json, write_json_atomic


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    content = {"cell": "kl T=4 é", "values": [1, 2.5, None, True], "nest": {"a": "b"}}
    write_json_atomic(tmp_path / "run.json", content)
    assert read_json(tmp_path / "run.json") == content


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"x": math.nan, "y": [math.inf, (-math.inf, 1.0)]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"x": None, "y": [None, [None, 1.0]]}


def test_a_folder_that_can_be_made_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    assert can_be_made(tmp_path)
    assert can_be_made(tmp_path / "a" / "b")
    assert can_be_made(Path("a/b"))
    for name in ("file", "file/a", "nowhere", "x" * 300):
        assert not can_be_made(tmp_path / name), name
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)  # CI runs as root
    assert not can_be_made(tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json_atomic(tmp_path / "a.json", {"new": object()})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_crash_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json_atomic(tmp_path / "a.json", {"old": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json_atomic(tmp_path / "a.json", {"new": 2})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_file_without_a_json_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json must "):
        read_json(tmp_path / "a.json")
