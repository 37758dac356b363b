"""Lists of the images in class folders, kept between commands."""

import os
from pathlib import Path

import pytest

from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.images import class_folders, listings
from kdsweep.data.images.class_folders import class_folder
from kdsweep.data.images.content import content_digest
from kdsweep.data.images.entries import SkippedFiles

NAMES = ("cat", "dog")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """``train/`` with two classes, one of them with a folder in it, and a file that is no image."""
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 0)
    folder = tmp_path / "root" / "train"
    for path in ("cat/2.png", "cat/1.png", "dog/b/4.png", "dog/3.png", "dog/b.png", "cat/a.txt"):
        write(folder / path)
    return folder


@pytest.fixture
def searches(monkeypatch) -> list[Path]:
    """The folders that are searched, one item for each time."""
    found: list[Path] = []
    search = class_folders._listing

    def noted(folder, *rest):
        found.append(folder)
        return search(folder, *rest)

    monkeypatch.setattr(class_folders, "_listing", noted)
    return found


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content of " + path.name.encode())


def listed(folder: Path, gib: float = 1.0, names=NAMES):
    """Relative paths, labels and the text about what is skipped."""
    skipped, cache = SkippedFiles(), DiskCache(folder.parents[1] / "cache", gib)
    part = class_folder(folder, names, skipped=skipped, cache=cache)
    return [part.images.key(row) for row in range(len(part.images))], part.labels, str(skipped)


EXPECTED = (
    [
        "train/cat/1.png",
        "train/cat/2.png",
        "train/dog/3.png",
        "train/dog/b/4.png",
        "train/dog/b.png",
    ],
    [0, 0, 1, 1, 1],
    ".txt (1)",
)


def test_folders_that_have_not_changed_are_not_searched_again(folder, searches):
    assert listed(folder) == EXPECTED
    assert listed(folder) == EXPECTED
    assert len(searches) == 1


def test_without_a_cache_they_are_searched_every_time(folder, searches):
    assert listed(folder, gib=0) == listed(folder, gib=0) == EXPECTED
    assert len(searches) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder / "cat" / "3.png"),
        lambda folder: write(folder / "dog" / "b" / "3.png"),
        lambda folder: (folder / "cat" / "1.png").unlink(),
        lambda folder: (folder / "cat" / "1.png").rename(folder / "cat" / "9.png"),
        lambda folder: (folder / "cat" / "1.png").rename(folder / "dog" / "1.png"),
        lambda folder: write(folder / "cat" / "b.txt"),
        lambda folder: write(folder / "outside.png"),
        lambda folder: write(folder / "dog" / "new" / "1.png"),
    ],
)
def test_a_change_of_any_folder_is_noticed(folder, searches, change):
    listed(folder)
    change(folder)
    assert listed(folder) == listed(folder, gib=0)
    assert listed(folder) != EXPECTED


def test_other_classes_are_another_list(folder):
    listed(folder)
    write(folder / "emu" / "5.png")
    assert listed(folder, names=("cat", "dog", "emu"))[1] == [0, 0, 1, 1, 1, 2]


def test_links_are_followed_in_every_command(folder, searches):
    """The target of a link may change while the folder with the link does not."""
    elsewhere = folder.parent / "elsewhere"
    write(elsewhere / "1.png")
    (folder / "cat" / "link").symlink_to(elsewhere)
    assert "train/cat/link/1.png" in listed(folder)[0]
    write(elsewhere / "2.png")
    assert "train/cat/link/2.png" in listed(folder)[0]
    assert len(searches) == 2


def test_a_folder_that_may_change_unseen_is_searched_again(folder, searches, monkeypatch):
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 10**12)
    listed(folder)
    listed(folder)
    assert len(searches) == 2


def test_undecodable_names_are_kept(folder, searches):
    os.rename(folder / "cat" / "1.png", os.fsencode(folder / "cat") + b"/\xff.png")
    assert listed(folder) == listed(folder)
    assert len(searches) == 1


def test_class_without_images_is_refused_from_the_cache_too(folder):
    (folder / "emu").mkdir()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"got .*emu without any, left out are \.txt \(1\)$"):
            listed(folder, names=(*NAMES, "emu"))


def test_a_file_that_changes_in_its_place_is_another_digest(folder, searches):
    """Its folder's mtime does not show it."""

    def digest():
        skipped, cache = SkippedFiles(), DiskCache(folder.parents[1] / "cache", 1)
        part = class_folder(folder, NAMES, skipped=skipped, cache=cache)
        return content_digest({"train": part}, cache)

    first = digest()
    assert digest() == first
    (folder / "cat" / "1.png").write_bytes(b"other content")
    assert digest() != first
    assert len(searches) == 1


def test_rules_of_another_version_search_again(folder, searches, monkeypatch):
    listed(folder)
    monkeypatch.setattr(listings, "RULES", listings.RULES + 1)
    listed(folder)
    assert len(searches) == 2
