"""Files, folders, patterns and lists."""

import io
import os
from pathlib import Path

import pytest

from kdsweep.deploy.image_paths import ClassFolders, image_paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.png",
        "a.JPG",
        "sub/c.webp",
        "sub/.hidden/d.png",
        ".e.png",
        "notes.txt",
        "[1].png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*words: str, stdin: bytes = b"") -> list[str]:
    return list(image_paths(words, io.BytesIO(stdin)))


def test_a_folder_is_all_images_below_it(folder: Path) -> None:
    assert paths(".") == ["[1].png", "a.JPG", "b.png", "sub/c.webp"]
    assert paths("sub", "b.png") == ["sub/c.webp", "b.png"]


def test_a_pattern_is_what_matches_it(folder: Path) -> None:
    assert paths("*.png") == ["[1].png", "b.png"]
    assert paths("**/*.webp") == ["sub/c.webp"]
    assert paths("s*") == ["sub/c.webp"]
    assert paths("[1].png") == ["[1].png"]  # the file, not what the pattern matches
    assert paths("*.tiff") == ["*.tiff"]  # nothing: it is reported as a file that is missing


def test_a_dash_is_a_path_a_line(folder: Path) -> None:
    assert paths("-", stdin=b"b.png\nwith space.png\r\n\n\xff.png") == [
        "b.png",
        "with space.png",
        os.fsdecode(b"\xff.png"),
    ]


def test_what_is_missing_stays(folder: Path) -> None:
    assert paths("missing.png", "b.png") == ["missing.png", "b.png"]


def test_the_folder_names_the_class() -> None:
    label_of = ClassFolders(["cat", "animals/dog", "a\\n"]).label_of
    assert label_of("photos/cat/1.png") == "cat"
    assert label_of("photos/animals/dog/1.png") == "animals/dog"
    assert label_of("photos/dog/1.png") is None
    assert label_of("cat/deeper/1.png") is None
    assert label_of("1.png") is None
    assert label_of("a\n/1.png") == "a\\n"  # as data sets write names
