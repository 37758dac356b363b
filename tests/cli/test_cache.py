"""`kdsweep cache`: what is kept is listed by description, and removed."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.disk_cache import DiskCache


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["cache", *map(str, words)])
    return result.exit_code, result.output


def fill(folder: Path) -> DiskCache:
    cache = DiskCache(folder, 1)
    kept = [("logits", "vgg16 on cifar10")] * 2 + [("images", "a folder")]
    for number, (kind, description) in enumerate(kept):
        with cache.write(kind, f"{number}", (250,), np.float32, description) as array:
            assert array is not None
            array[:] = number
    return cache


def test_entries_with_one_description_are_one_row(tmp_path: Path) -> None:
    fill(tmp_path)
    code, text = run("--folder", tmp_path)
    assert code == 0
    (row,) = [line.split() for line in text.splitlines() if "vgg16 on cifar10" in line]
    assert row[:5] == ["logits", "vgg16", "on", "cifar10", "2"]
    assert "a folder" in text


def test_an_empty_cache_and_none(tmp_path: Path) -> None:
    assert run("--folder", tmp_path) == (0, f"{tmp_path} is empty\n")
    assert run("--folder", tmp_path / "none") == (0, f"{tmp_path / 'none'} is empty\n")
    assert "removed 0 entries" in run("clear", "--folder", tmp_path)[1]


def test_clear_removes_a_kind_or_everything(tmp_path: Path) -> None:
    cache = fill(tmp_path)
    assert run("clear", "--folder", tmp_path, "--kind", "logit") == (
        1,
        "--kind must be images | logits, got logit\n",
    )
    assert "removed 2 entries, " in run("clear", "--folder", tmp_path, "--kind", "logits")[1]
    assert [entry.kind for entry in cache.entries()] == ["images"]
    assert "removed 1 entry, " in run("clear", "--folder", tmp_path)[1]
    assert cache.entries() == []
