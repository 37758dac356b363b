import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.common import pacing
from kdsweep.common.disk_cache import DiskCache
from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.images import content, decoded, encoded, kept, lazy
from kdsweep.data.images.lazy import StoredImages
from kdsweep.data.pipeline.inspection import read_through
from kdsweep.data.types import DataError, SourceData

ON_DISK = 1e-9  # GiB: nothing fits


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Two classes of grey images, train/ and test/."""
    # As in test_file_digests: files of now are settled at once.
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 0)
    for number, folder in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        for image in range(3):
            write(tmp_path / "root" / folder / f"{image}.png", 20 * number + image)
    return tmp_path / "root"


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of images, once for each time that they are opened or hashed."""
    names: list[str] = []
    opened, sha256 = encoded._opened, encoded.content_sha256

    def noted_opening(images, row):
        names.append(images.key(row))
        return opened(images, row)

    def noted_hashing(images, row):
        names.append(images.key(row))
        return sha256(images, row)

    monkeypatch.setattr(encoded, "_opened", noted_opening)
    monkeypatch.setattr(content, "content_sha256", noted_hashing)
    return names


def write(path: Path, value: int, size: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size, value, np.uint16 if value > 255 else np.uint8)
    Image.fromarray(pixels).save(path)


def load(root: Path, gib: float = 1.0, **options) -> SourceData:
    source = ImageFolder(str(root), **options)
    source.cache = DiskCache(root.parent / "cache", gib)
    source.digest()  # as before every sweep
    return source.load()


def assert_equal(one: SourceData, other: SourceData) -> None:
    assert one.class_names == other.class_names
    for a, b in ((one.train, other.train), (one.test, other.test)):
        index = torch.arange(len(a.labels))
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.images[index], b.images[index])


@pytest.mark.parametrize("memory_gib", [4.0, ON_DISK])
def test_a_second_load_reads_no_image_and_gives_equal_pixels(root, reads, memory_gib):
    options = {"channels": None, "memory_gib": memory_gib, "workers": 0}
    first = load(root, **options)
    assert len(reads) > 12
    reads.clear()
    second = load(root, **options)
    assert reads == []
    assert isinstance(second.train.images, StoredImages) == (memory_gib == ON_DISK)
    assert second.train.images.shape == (6, 1, 4, 6)
    assert_equal(second, first)
    assert_equal(second, load(root, gib=0, **options))


def test_pixels_of_the_cache_are_a_copy_that_may_be_written_to(root, recwarn):
    load(root)
    pixels = load(root).train.images
    pixels += 1
    assert_equal(load(root), load(root, gib=0))
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def _change_unseen(file: Path) -> None:
    """Other pixels with equal size and mtime; only ctime shows it."""
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        write(file, 99)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "decodes"),
    [
        (lambda cat: os.utime(cat / "1.png", (1, 1)), False),  # its content is the same
        (lambda cat: _change_unseen(cat / "1.png"), True),
        (lambda cat: write(cat / "7.png", 7), True),
        (lambda cat: (cat / "1.png").unlink(), True),
        (lambda cat: (cat / "1.png").rename(cat / "9.png"), True),
        (lambda cat: (cat / "1.png").rename(cat.with_name("dog") / "9.png"), True),
    ],
)
def test_a_change_of_the_folder_is_noticed(root, reads, change, decodes):
    load(root)
    change(root / "train" / "cat")
    reads.clear()
    changed = load(root)
    assert (len(reads) > 12 - 2) == decodes
    assert_equal(changed, load(root, gib=0))


@pytest.mark.parametrize(
    "options",
    [{"channels": 1}, {"image_size": 3}, {"image_size": 3, "crop": True}, {"image_size": None}],
)
def test_other_forms_of_the_same_images_are_kept_apart(root, options):
    load(root)
    load(root, image_size=[3, 3], channels=3)
    assert_equal(load(root, **options), load(root, gib=0, **options))


@pytest.mark.parametrize(("name", "other"), [("DECODING", kept.DECODING + 1), ("pillow", "0.1")])
def test_another_version_decodes_again(root, reads, monkeypatch, name, other):
    load(root)
    monkeypatch.setattr(kept, name, other)
    reads.clear()
    load(root)
    assert len(reads) > 11


def test_looking_at_every_file_has_a_line_where_it_takes_long(root, monkeypatch, caplog):
    load(root)
    monkeypatch.setattr(pacing, "FIRST_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "kdsweep.common.pacing")
    load(root)
    assert "looking for files that have changed: 0 of 6" in caplog.text


def test_a_file_that_is_removed_after_it_was_decoded_stops_nothing(root, monkeypatch):
    options = {"image_size": [4, 6]}
    first = load(root, gib=0, **options)
    decode_all = decoded.decode_all

    def then_remove(images, image_format):
        found = decode_all(images, image_format)
        (root / "train/cat/1.png").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(decoded, "decode_all", then_remove)
    assert_equal(load(root, **options), first)
    assert not list((root.parent / "cache").glob("images/*"))


def test_equal_content_in_another_folder_is_not_decoded_again(root, monkeypatch):
    first = load(root)
    moved = root.with_name("moved")
    shutil.copytree(root, moved)
    monkeypatch.setattr(encoded, "_opened", None)
    assert_equal(load(moved), first)


@pytest.mark.parametrize("damage", [lambda size: bytes(size), lambda size: b"short"])
def test_damaged_entries_are_decoded_again(root, damage):
    first = load(root)
    for entry in (root.parent / "cache" / "images").glob("*/array.bin"):
        entry.write_bytes(damage(entry.stat().st_size))
    assert_equal(load(root), first)


def test_notes_that_no_json_can_be_read_from_are_damaged(root):
    images = ImageFolder(str(root))._contents.parts["train"].images
    assert decoded.unpacked(np.frombuffer(b"[[0", np.uint8), images) is None
    assert decoded.unpacked(np.frombuffer(b"[[99, 1]]", np.uint8), images) is None


def test_without_a_cache_everything_is_read_again(root, reads):
    load(root, gib=0)
    count = len(reads)
    load(root, gib=0)
    assert len(reads) == 2 * count
    assert not (root.parent / "cache").exists()


@pytest.mark.parametrize("memory_gib", [4.0, ON_DISK])
def test_a_warning_about_an_image_is_repeated(root, reads, caplog, memory_gib):
    (root / "train" / "cat" / "1.png").write_bytes(b"no image")
    messages = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            read = load(root, skip_unreadable=True, memory_gib=memory_gib, workers=0)
        assert len(read.train.labels) == 5
        messages.append(caplog.messages)
        assert bool(reads) == (len(messages) == 1)
        reads.clear()
    assert messages[0] == messages[1]
    assert str(root / "train" / "cat" / "1.png") in messages[0][0]


@pytest.mark.parametrize("unreadable", [True, False])
def test_a_refusal_is_repeated(root, unreadable):
    for file in root.glob("*/*/*.png"):
        write(file, 300)  # of 65,535: almost black
    if unreadable:
        (root / "train" / "cat" / "1.png").write_bytes(b"no image")
    refusals = []
    for gib in (1, 1, 0):
        with pytest.raises(ValueError, match=r"^dataset\.source") as refused:
            load(root, gib=gib)
        refusals.append(str(refused.value))
    assert len({*refusals}) == 1


def test_an_error_of_the_disk_is_not_kept(root, monkeypatch):
    def fails(images, row):
        raise encoded.UnreadableImage("x", OSError(5, "I/O")) from OSError(5, "I/O")

    with monkeypatch.context() as patch:
        patch.setattr(encoded, "_opened", fails)
        with pytest.raises(encoded.UnreadableImage):
            load(root, image_size=4)
    assert_equal(load(root, image_size=4), load(root, gib=0, image_size=4))


def test_an_image_that_changes_while_it_is_decoded_is_not_kept(root, monkeypatch):
    def changed_meanwhile(images, row, image_format):
        pixels = encoded.decode(images, row, image_format)
        _change_unseen(root / "train" / "cat" / "1.png")
        return pixels

    with monkeypatch.context() as patch:
        patch.setattr(decoded, "decode", changed_meanwhile)
        load(root)
    entries = list((root.parent / "cache" / "images").iterdir())
    assert len(entries) == 1  # the size of the images, which was read before
    assert_equal(load(root), load(root, gib=0))


def test_data_sets_too_large_to_be_hashed_are_kept_by_their_times(root, reads, monkeypatch):
    monkeypatch.setattr(content, "DIGEST_GIB", 0)
    first = load(root)
    reads.clear()
    assert_equal(load(root), first)
    assert reads == []
    _change_unseen(root / "train" / "cat" / "1.png")
    assert_equal(load(root), load(root, gib=0))


def test_images_on_disk_are_decoded_once_and_again_when_one_changes(root, monkeypatch):
    decodes = []
    decode = lazy.decode

    def noted(images, row, image_format):
        decodes.append(images.key(row))
        return decode(images, row, image_format)

    monkeypatch.setattr(lazy, "decode", noted)

    def read_test(gib=1.0, **options):
        decodes.clear()
        read_through(load(root, gib, memory_gib=ON_DISK, workers=0, **options).test.images)
        return len(decodes)

    assert [read_test(), read_test()] == [6, 0]
    assert read_test(image_size=[2, 2]) == 6  # another form
    assert read_test(gib=0) == 6
    os.utime(root / "test" / "cat" / "1.png", (1, 1))
    assert [read_test(), read_test()] == [6, 0]
    (root / "test" / "cat" / "1.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(DataError, match=r"^dataset\.source must give readable images"):
            read_test()
