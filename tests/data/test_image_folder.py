import logging
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.common import pacing
from kdsweep.common.notices import warn_once
from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.images import content
from kdsweep.data.images.lazy import StoredImages
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.inspection import DatasetInspector
from kdsweep.data.pipeline.split import SplitOptions, load_dataset
from kdsweep.data.pipeline.stream import Stream, evaluation_batches

ON_DISK = 1e-9  # GiB: nothing fits
OPTIONS = SplitOptions("image_folder", val_fraction=0.25)


def write_images(folder, count, size=(6, 5), seed=0):
    """``count`` random images of ``size`` (H, W) in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([seed, *folder.name.encode(), *folder.parent.name.encode()])
    for number in range(count):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


@pytest.fixture
def root(tmp_path):
    """Two classes, train/ and test/."""
    for name in ("cat", "dog"):
        write_images(tmp_path / "train" / name, 12)
        write_images(tmp_path / "test" / name, 3)
    return tmp_path


def load(root, **options):
    return ImageFolder(str(root), **options).load()


def refusal(root, **options):
    with pytest.raises(ValueError, match=r"^dataset\.") as refused:
        load(root, **options)
    return str(refused.value)


def test_images_and_labels_follow_the_sorted_folders(root):
    raw = load(root)
    assert raw.class_names == ("cat", "dog")
    assert raw.train.images.shape == (24, 3, 6, 5)
    assert raw.train.labels.tolist() == [0] * 12 + [1] * 12
    assert raw.test.labels.tolist() == [0] * 3 + [1] * 3
    third_dog = np.asarray(Image.open(root / "train" / "dog" / "02.png"))
    assert np.array_equal(raw.train.images[14].permute(1, 2, 0).numpy(), third_dog)


def test_only_val_is_the_test_set(root, caplog):
    warn_once.cache_clear()
    (root / "test").rename(root / "validation")
    raw = load(root)
    assert (
        f"dataset.root: validation/ of {root} is the test set, as there is no other" in caplog.text
    )
    assert "is used as" not in caplog.text
    assert raw.val is None
    assert len(raw.test.labels) == 6


@pytest.mark.parametrize(("name", "part"), [("valid", "val"), ("validation", "val")])
def test_other_names_of_parts(root, caplog, name, part):
    warn_once.cache_clear()
    for label in ("cat", "dog"):
        write_images(root / name / label, 2)
    for usual in ("train", "test"):
        (root / usual).rename(root / f"{usual}ing")
    raw = load(root)
    assert [len(each.labels) for each in (raw.train, raw.val, raw.test)] == [24, 4, 6]
    assert f"dataset.root: {name}/ of {root} is used as {part}/" in caplog.text
    assert f"dataset.root: training/ of {root} is used as train/" in caplog.text
    (root / part).mkdir()
    assert f"got {root} with {part}/ and {name}/" in refusal(root)


def test_folders_of_the_root_are_classes_if_there_is_no_train(tmp_path, caplog):
    warn_once.cache_clear()
    flat = tmp_path / "flat"
    for name in ("cat", "dog", "__MACOSX"):
        write_images(flat / name, 12)
    raw = load(flat)
    assert raw.class_names == ("cat", "dog")
    assert len(raw.train.labels) == 24
    assert raw.test is None
    assert (
        f"dataset.root: {flat} has no train/, so all its images are read as one set" in caplog.text
    )
    digest = ImageFolder(str(flat)).digest()
    flat.rename(tmp_path / "moved")
    assert ImageFolder(str(tmp_path / "moved")).digest() == digest


def test_a_test_set_alone_is_refused(root):
    (root / "train").rename(root.parent / "elsewhere")
    assert refusal(root) == f"dataset.root must hold a folder train/, got {root} with test/ only"


def test_val_and_test_are_used_as_they_are(root):
    for name in ("cat", "dog"):
        write_images(root / "val" / name, 2)
    data = load_dataset(ImageFolder(str(root)), OPTIONS)
    sizes = [len(part.labels) for part in (data.train, data.val, data.test)]
    assert sizes == [24, 4, 6]


def test_without_val_and_test_both_are_split_off(root):
    for path in sorted((root / "test").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / "test").rmdir()
    assert load(root).test is None
    data = load_dataset(ImageFolder(str(root)), replace(OPTIONS, test_fraction=0.25))
    sizes = [len(part.labels) for part in (data.train, data.val, data.test)]
    assert sizes == [14, 4, 6]


def test_hidden_and_other_files_are_not_looked_at(root):
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / ".hidden.png").write_text("no image")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    assert load(root).train.labels.tolist() == [0] * 12 + [1] * 12


def test_images_are_found_at_any_depth_and_with_any_case(root):
    write_images(root / "train" / "cat" / "deeper", 1)
    (root / "train" / "dog" / "00.png").rename(root / "train" / "dog" / "00.PNG")
    assert load(root).train.labels.tolist() == [0] * 13 + [1] * 12


@pytest.mark.parametrize("size", [8, [8, 8]])
def test_images_of_any_size_are_resized(root, size):
    write_images(root / "train" / "cat" / "large", 1, size=(20, 30))
    assert load(root, image_size=size).train.images.shape == (25, 3, 8, 8)


def test_image_size_is_height_and_width(root):
    assert load(root, image_size=[4, 9]).train.images.shape == (24, 3, 4, 9)


@pytest.mark.parametrize("memory_gib", [4, ON_DISK])
def test_crop_keeps_proportions_round_the_middle(root, memory_gib):
    stripes = np.zeros((20, 60, 3), dtype=np.uint8)
    stripes[:, 16:44] = 255  # black, white, black
    Image.fromarray(stripes).save(root / "train" / "cat" / "00.png")
    first = torch.tensor([0])
    options = {"image_size": 10, "memory_gib": memory_gib, "workers": 0}
    cut, stretched = (
        load(root, **options, crop=crop).train.images[first] for crop in (True, False)
    )
    assert (cut == 255).all()
    assert stretched[..., 0].max() == 0


@pytest.mark.parametrize(("channels", "expected"), [(3, 3), (None, 1), (1, 1)])
def test_grey_images_have_the_requested_channels(root, channels, expected):
    for path in root.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    images = load(root, channels=channels).train.images
    assert images.shape == (24, expected, 6, 5)
    grey = np.asarray(Image.open(root / "train" / "cat" / "00.png"))
    assert np.array_equal(images[0, 0].numpy(), grey)


def test_one_colour_image_makes_all_of_them_colour(root):
    for path in (root / "train").rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert load(root, channels=None).train.images.shape == (24, 3, 6, 5)


def test_one_colour_stays_that_colour_when_resized(root):
    for path in (root / "train" / "cat").iterdir():
        Image.new("RGB", (40, 20), (10, 200, 30)).save(path)
    images = load(root, image_size=7).train.images[:12]
    assert torch.equal(images, torch.tensor([10, 200, 30]).byte().view(3, 1, 1).expand_as(images))


def modes():
    grey = Image.new("L", (5, 6), 100)
    palette = grey.convert("P")
    palette.info["transparency"] = b"\x00\x80"  # of which Pillow warns
    return {
        "L": (grey, 100),
        "1": (Image.new("1", (5, 6), 1), 255),
        "P": (palette, 100),
        "LA": (grey.convert("LA"), 100),
        "RGBA": (Image.new("RGBA", (5, 6), (100, 100, 100, 7)), 100),
        "I;16": (Image.fromarray(np.full((6, 5), 100 * 256 + 9, dtype=np.uint16)), 100),
    }


@pytest.mark.parametrize("mode", list(modes()))
@pytest.mark.parametrize("memory_gib", [4, ON_DISK])
def test_every_mode_becomes_rgb_without_a_warning(root, mode, memory_gib):
    image, value = modes()[mode]
    image.save(root / "train" / "cat" / "00.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = load(root, memory_gib=memory_gib, workers=0).train.images
        assert (images[torch.tensor([0])] == value).all()


def test_digest_follows_names_and_bytes_but_not_the_place(root, tmp_path_factory):
    first = ImageFolder(str(root)).digest()
    moved = root.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    assert ImageFolder(str(moved)).digest() == first
    image = moved / "train" / "cat" / "00.png"
    Image.new("RGB", (5, 6)).save(image)
    changed = ImageFolder(str(moved)).digest()
    image.rename(image.with_name("99.png"))
    assert len({first, changed, ImageFolder(str(moved)).digest()}) == 3


def test_digest_does_not_depend_on_where_images_are_kept(root):
    assert ImageFolder(str(root), memory_gib=ON_DISK).digest() == ImageFolder(str(root)).digest()


def test_digest_of_very_much_data_follows_names_and_sizes(root, monkeypatch):
    def digest():
        return ImageFolder(str(root)).digest()

    whole = digest()
    monkeypatch.setattr(content, "DIGEST_GIB", 0)
    first = digest()
    assert first != whole
    with (root / "train" / "cat" / "00.png").open("ab") as file:
        file.write(b"more")
    assert digest() != first


def batches(root, memory_gib, workers):
    """Two epochs of the stream and one of val, joined, and the data set."""
    source = ImageFolder(str(root), memory_gib=memory_gib, workers=workers)
    data = load_dataset(source, OPTIONS)
    normal = {"mean": data.mean, "std": data.std}
    augment = Augment(crop_padding=2, flip=True)
    stream = Stream(data.train, batch_size=5, seed=3, augment=augment, **normal)
    shown = [*stream.epoch(0), *stream.epoch(1)]
    shown += evaluation_batches(data.val, batch_size=4, **normal)
    shown += evaluation_batches(data.test, batch_size=4, **normal)
    tensors = ((batch.images, batch.labels, batch.index) for batch in shown)
    return [torch.cat(parts) for parts in zip(*tensors, strict=True)], data


@pytest.mark.ci
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_on_disk_equals_in_memory_bitwise(root, workers):
    expected, in_memory = batches(root, memory_gib=4, workers=0)
    got, on_disk = batches(root, memory_gib=ON_DISK, workers=workers)
    assert isinstance(on_disk.train.images, StoredImages)
    assert isinstance(in_memory.train.images, torch.Tensor)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert (on_disk.mean, on_disk.std) == (in_memory.mean, in_memory.std)
    assert on_disk.image_shape == in_memory.image_shape


@pytest.mark.slow
def test_workers_leave_the_global_generator_alone(root):
    before = torch.get_rng_state()
    batches(root, memory_gib=ON_DISK, workers=1)
    assert torch.equal(before, torch.get_rng_state())


def test_missing_root_is_refused(tmp_path):
    missing = tmp_path / "none"
    assert refusal(missing) == f"dataset.root must be an existing folder, got {missing}"


def test_root_without_train_is_refused(tmp_path):
    expected = f"dataset.root must hold a folder train/, got {tmp_path} without it"
    assert refusal(tmp_path) == expected


@pytest.mark.parametrize("names", [[], ["cat"]])
def test_fewer_than_two_classes_are_refused(tmp_path, names):
    train = tmp_path / "train"
    train.mkdir()
    for name in names:
        write_images(train / name, 1)
    assert refusal(tmp_path) == (
        f"dataset.root must hold at least 2 class folders in train/, got {len(names)} in {train}"
    )


def test_empty_class_folder_is_refused(root):
    empty = root / "train" / "bird"
    empty.mkdir()
    (root / "test" / "bird").mkdir()
    assert refusal(root) == (
        f"dataset.root must hold images in every class folder, got {empty} without any"
    )


def test_class_missing_in_test_is_refused(root):
    write_images(root / "train" / "bird", 1)
    assert refusal(root) == (
        "dataset.root must hold the same class folders in test/ as in train/, "
        f"got {root / 'test'} without 'bird'"
    )


def test_class_unknown_in_train_is_refused(root):
    write_images(root / "test" / "bird", 1)
    assert refusal(root) == (
        "dataset.root must hold the same class folders in test/ as in train/, "
        f"got {root / 'test'} with 'bird', unknown in train/"
    )


def test_images_of_different_sizes_need_an_image_size(root):
    write_images(root / "test" / "dog" / "large", 1, size=(7, 9))
    first, other = root / "train" / "cat" / "00.png", root / "test" / "dog" / "large" / "00.png"
    assert refusal(root) == (
        "dataset.source.image_size must be a number of pixels or [H, W] where images differ in "
        f"size, got null for {first} (6 x 5) and {other} (7 x 9)"
    )


def not_an_image(path):
    path.write_text("no image")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:100])  # the header is whole, the pixels are not


@pytest.mark.parametrize("damage", [not_an_image, cut_short])
@pytest.mark.parametrize("image_size", [None, 6])
def test_unreadable_image_is_refused_by_name(root, damage, image_size):
    bad = root / "train" / "dog" / "05.png"
    damage(bad)
    message = refusal(root, image_size=image_size)
    assert message.startswith("dataset.source must give readable images ")
    assert str(bad) in message


@pytest.mark.parametrize("workers", [0, 1])
def test_image_on_disk_that_turns_out_unreadable_is_named(root, workers):
    bad = root / "train" / "dog" / "05.png"
    cut_short(bad)
    source = ImageFolder(str(root), memory_gib=ON_DISK, workers=workers)
    with pytest.raises(ValueError, match=r"^dataset\.source must give readable images ") as refused:
        load_dataset(source, replace(OPTIONS, val_fraction=0))
    assert str(bad) in str(refused.value)


@pytest.mark.parametrize("damage", [not_an_image, cut_short])
@pytest.mark.parametrize("memory_gib", [4, ON_DISK])
def test_unreadable_image_is_skipped_on_request_with_a_warning(root, damage, memory_gib, caplog):
    bad = root / "train" / "dog" / "05.png"
    whole = load(root).train.images
    damage(bad)
    with caplog.at_level(logging.WARNING):
        raw = load(root, memory_gib=memory_gib, workers=0, skip_unreadable=True)
    assert raw.train.labels.tolist() == [0] * 12 + [1] * 11
    expected = torch.cat((whole[:17], whole[18:]))
    assert torch.equal(raw.train.images[torch.arange(23)], expected)
    assert [record.getMessage().count(str(bad)) for record in caplog.records] == [1]


def test_class_left_without_a_readable_image_is_refused(root):
    for path in (root / "test" / "cat").iterdir():
        not_an_image(path)
    assert refusal(root, skip_unreadable=True) == (
        "dataset.source must give a readable image of every class, got none of 'cat' in test"
    )


def test_folder_without_any_readable_image_is_refused(root):
    for path in root.rglob("*.png"):
        not_an_image(path)
    message = "dataset.source must give readable images, got none"
    assert refusal(root, skip_unreadable=True) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_size": 0},
            "dataset.source.image_size must be null, a number of pixels >= 1 or [H, W], got 0",
        ),
        (
            {"image_size": [8, 8, 3]},
            "dataset.source.image_size must be null, a number of pixels >= 1 or [H, W], "
            "got [8, 8, 3]",
        ),
        (
            {"image_size": "32"},
            "dataset.source.image_size must be null, a number of pixels >= 1 or [H, W], got '32'",
        ),
        ({"memory_gib": 0}, "dataset.source.memory_gib must be a finite number > 0, got 0"),
        ({"workers": -1}, "dataset.source.workers must be a whole number >= 0, got -1"),
        ({"channels": 2}, "dataset.source.channels must be 1, 3 or null, got 2"),
    ],
)
def test_bad_values_are_refused_with_one_message(root, options, message):
    assert refusal(root, **options) == message


def test_images_of_every_ending_that_is_read_are_used(root):
    for number, ending in enumerate((".jfif", ".JFIF", ".jpe", ".pnm", ".tga")):
        (root / "train" / "cat" / "00.png").rename(
            root / "train" / "cat" / f"moved{number}{ending}"
        )
        write_images(root / "train" / "cat", 1, seed=number)
    assert load(root).train.labels.tolist() == [0] * 17 + [1] * 12


@pytest.fixture
def warned(caplog):
    """The warnings of the data part, each of which is given once."""
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_what_is_left_out_is_counted_by_its_ending_in_one_warning(root, warned):
    for name in ("a.txt", "b.TXT", "c.json", "README"):
        (root / "train" / "cat" / name).write_text("no image")
    (root / "test" / "dog" / "d.txt").write_text("no image")
    (root / "train" / "stray.png").write_bytes((root / "train" / "cat" / "00.png").read_bytes())
    (root / "train" / "labels.csv").write_text("no image")
    for _ in range(2):
        load(root)
    assert warned() == [
        f"dataset.root: left out of {root} are .txt (3), .csv (1), images outside of class folders "
        f"(1: {root / 'train' / 'stray.png'}), no ending (1: {root / 'train' / 'cat' / 'README'}), "
        ".json (1)"
    ]


def test_nothing_is_printed_where_nothing_is_left_out(root, warned):
    load(root)
    assert warned() == []


LINKS = {
    "to itself": {"cat/loop": "."},
    "two to themselves": {"cat/a": ".", "cat/b": "."},
    "to each other": {"cat/a": "../dog", "dog/b": "../cat"},
    "upwards": {"cat/up": "../..", "dog/all": ".."},
    "to images": {"cat/99.png": "00.png", "dog/98.png": "../cat/01.png"},
    "to links": {"cat/99.png": "98.png", "cat/98.png": "99.png", "dog/x.png": "gone.png"},
}


@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
def test_every_image_is_read_once_wherever_links_lead(root, links, warned):
    expected = load(root)
    for link, target in links.items():
        (root / "train" / link).symlink_to(target)
    got = load(root)
    assert torch.equal(got.train.images, expected.train.images)
    assert torch.equal(got.train.labels, expected.train.labels)
    assert len(warned()) == 1


def test_linked_files_and_folders_are_read(root, tmp_path_factory):
    expected = load(root).train.images
    store = tmp_path_factory.mktemp("store")
    for number, path in enumerate(sorted((root / "train" / "cat").iterdir())):
        path.rename(store / f"{number}.bin")
        path.symlink_to(store / f"{number}.bin")
    moved = (root / "train" / "dog").rename(store / "dog")
    (root / "train" / "dog").symlink_to(moved)
    assert torch.equal(load(root).train.images, expected)


def test_class_that_is_a_link_to_another_is_refused(root):
    (root / "train" / "fox").symlink_to("dog")
    (root / "test" / "fox").symlink_to("dog")
    message = refusal(root)
    assert f"got {root / 'train' / 'fox'} without any, left out are links to what is" in message


@pytest.mark.parametrize("memory_gib", [4, ON_DISK])
def test_only_regular_files_are_read(root, memory_gib, warned):
    cat = root / "train" / "cat"
    os.mkfifo(cat / "pipe.png")
    (cat / "zero.png").symlink_to("/dev/zero")
    (cat / "socket.png").symlink_to("/dev/null")
    source = ImageFolder(str(root), memory_gib=memory_gib, workers=0)
    assert len(source.digest()) == 64
    assert source.load().train.labels.tolist() == [0] * 12 + [1] * 12
    assert warned() == [
        f"dataset.root: left out of {root} are not regular files (3: {cat / 'pipe.png'})"
    ]


@pytest.mark.parametrize("read", ["digest", "load"])
def test_file_that_becomes_a_pipe_is_named_and_not_waited_for(root, read):
    source = ImageFolder(str(root))
    assert source._contents
    pipe = root / "train" / "cat" / "00.png"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises((ValueError, OSError), match="not a regular file") as refused:
        getattr(source, read)()
    assert str(pipe) in str(refused.value)


def test_folder_that_cannot_be_read_is_not_passed_over(root, monkeypatch):
    write_images(root / "train" / "cat" / "deeper", 1)

    def scandir(folder, scan=os.scandir):
        if str(folder).endswith("deeper"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="deeper"):
        load(root)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, ["reading the sizes of images", "decoding images"]),
        ({"memory_gib": ON_DISK, "image_size": 5, "workers": 0}, ["checking images"]),
    ],
)
def test_hashing_and_decoding_that_take_long_have_lines(root, options, lines, monkeypatch, caplog):
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0)
    monkeypatch.setattr(pacing, "clock_time", lambda seconds: "0:00:00")
    source = ImageFolder(str(root), **options)
    source.digest()
    assert [m for m in caplog.messages if m.endswith(": 5 of 24, ETA 0:00:00")] == [
        f"{line}: 5 of 24, ETA 0:00:00"
        for line in (
            "looking for files that have changed",
            "hashing train images",
            "digest of the list of train images",
        )
    ]
    assert "hashing test images: 5 of 6, ETA 0:00:00" in caplog.messages
    caplog.clear()
    source.load()
    assert [m for m in caplog.messages if m.endswith(": 5 of 24, ETA 0:00:00")] == [
        f"{line}: 5 of 24, ETA 0:00:00" for line in lines
    ]


def test_the_inspection_of_images_on_disk_has_lines(root, monkeypatch, caplog):
    monkeypatch.setattr(pacing, "MIN_SECONDS", 0)
    monkeypatch.setattr(pacing, "clock_time", lambda seconds: "0:00:00")
    source = ImageFolder(str(root), memory_gib=ON_DISK, workers=0)
    DatasetInspector().inspect(load_dataset(source, OPTIONS), "here")
    assert "looking for images in several parts: 5 of 6, ETA 0:00:00" in caplog.messages
    assert "decoding images once: 0 of 6" in caplog.messages
