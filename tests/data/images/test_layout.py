"""The layouts of folders of images that people have, and what each is read as."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from kdsweep.common.notices import warn_once
from kdsweep.data.image_folder import ImageFolder
from kdsweep.data.pipeline.split import SplitOptions, load_dataset


def write(root: Path, *paths: str) -> Path:
    """An image at each path; ``x/*`` are two images in x/."""
    for number, path in enumerate(paths):
        names = [path.replace("*", f"{n}.png") for n in range(2)] if "*" in path else [path]
        for n, name in enumerate(names):
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 20 * number + n).save(file)
    return root


def read(root: Path, **options):
    """Class names, and the images of each class by part."""
    data = ImageFolder(str(root), **options).load()
    parts = {"train": data.train, "val": data.val, "test": data.test}
    counts = {
        name: part.labels.bincount(minlength=len(data.class_names)).tolist()
        for name, part in parts.items()
        if part is not None
    }
    return data.class_names, counts


def refusal(root: Path, **options) -> str:
    with pytest.raises(ValueError, match=r"^dataset\.") as refused:
        ImageFolder(str(root), **options).load()
    return str(refused.value)


@pytest.fixture
def lines(caplog):
    """The lines that were logged about the reading, in one text."""
    warn_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: caplog.text


PLAIN = (("cats", "dogs"), {"train": [2, 2], "test": [2, 2]})
LAYOUTS = {
    "wrapped in one folder": (["archive/pets/{}/{}/*"], PLAIN, "archive/pets is read, because"),
    "wrapped in a part": (["{0}/{0}/{1}/*"], PLAIN, ""),
    "wrapped in images": (["{}/images/{}/*"], PLAIN, ""),
    "images below each class": (["{}/{}/images/*"], PLAIN, ""),
    "other names": (["{}ing_set/{}/*"], PLAIN, "training_set/ of"),
    "other case": (["{}_Images/{}/*"], PLAIN, "train_Images/ of"),
    "one level more": (
        ["{}/animals/{}/*"],
        (("animals/cats", "animals/dogs"), PLAIN[1]),
        "are the folders that hold images, such as 'animals/cats'",
    ),
    "one level more, and images": (
        ["{}/animals/{}/images/*", "{}/plants/oak/images/*"],
        (("animals/cats", "animals/dogs", "plants/oak"), {"train": [2] * 3, "test": [2] * 3}),
        "(dataset.source.nested=false: the folders above them)",
    ),
    "folders of the same names": (
        ["{}/{}/monday/*", "{}/{}/friday/*"],
        (("cats", "dogs"), {"train": [4, 4], "test": [4, 4]}),
        "because folders of equal names lie below several of them",
    ),
    "folders of images and images": (
        ["{}/{}/*", "{}/{}/more/*", "{}/{}/most/*"],
        (("cats", "dogs"), {"train": [6, 6], "test": [6, 6]}),
        "",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_read_as_they_are_meant(tmp_path: Path, lines, layout: str) -> None:
    patterns, expected, line = LAYOUTS[layout]
    paths = [p.format(s, c) for p in patterns for s in ("train", "test") for c in ("cats", "dogs")]
    root = write(
        tmp_path / "root", *dict.fromkeys(paths), ".hidden/train/x/0.png", "__MACOSX/0.png"
    )
    assert read(root) == expected
    assert line in lines()
    if not line:
        assert "nested" not in lines()


def test_a_wrapped_folder_has_the_digest_of_the_folder_itself(tmp_path: Path) -> None:
    write(
        tmp_path / "archive" / "pets", "train/cats/*", "train/dogs/*", "test/cats/*", "test/dogs/*"
    )
    digest = ImageFolder(str(tmp_path)).digest()
    assert digest == ImageFolder(str(tmp_path / "archive" / "pets")).digest()


def test_folders_that_differ_between_parts_are_no_classes(tmp_path: Path, lines) -> None:
    write(
        tmp_path, *(f"train/{name}/*" for name in ("cats/tom", "cats/kim", "dogs/rex", "dogs/pom"))
    )
    write(tmp_path, "test/cats/max/*", "test/dogs/ace/*")
    assert read(tmp_path) == (("cats", "dogs"), {"train": [4, 4], "test": [2, 2]})
    assert "because the folders below them differ between parts" in lines()


def test_nested_decides_where_images_lie_at_several_depths(tmp_path: Path) -> None:
    root = write(tmp_path, "train/ants/*", "train/birds/owl/*", "train/birds/crow/*")
    assert refusal(root) == (
        "dataset.source.nested must be true (every folder that holds images is a class) or false"
        f" (the folders in train/ are) where images lie at several depths, got null with"
        f" {root}/train/ants and {root}/train/birds/crow"
    )
    assert read(root, nested=True)[0] == ("ants", "birds/crow", "birds/owl")
    assert read(root, nested=False) == (("ants", "birds"), {"train": [2, 4]})
    assert "dataset.source.nested must be true or false, got yes" in refusal(root, nested="yes")


def test_parts_of_other_names_are_no_classes(tmp_path: Path) -> None:
    root = write(tmp_path, *(f"seg_{s}/{c}/*" for s in ("train", "test") for c in "ab"))
    assert refusal(root) == (
        "dataset.root must hold its training images in train/ and test images in test/, got"
        f" {root} with seg_train/ and seg_test/"
    )


@pytest.mark.parametrize("other", ["tests/a/0.png", "images_test/0.png", "eval/a/0.png"])
def test_a_test_set_of_another_name_is_named(tmp_path: Path, other: str) -> None:
    root = write(tmp_path, "train/a/*", "train/b/*", other)
    options = SplitOptions("image_folder", val_fraction=0.0)
    with pytest.raises(ValueError, match=r"^dataset\.test_fraction must be in \(0, 1\)") as refused:
        load_dataset(ImageFolder(str(root)), options)
    name = other.partition("/")[0]
    assert f"because {root / name} is not read as a test set" in str(refused.value)


def test_a_class_is_no_test_set(tmp_path: Path) -> None:
    root = write(tmp_path, "beaker/*", "test tube/*")
    assert ImageFolder(str(root)).load().unread_test_set is None


def test_a_test_set_without_classes_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, "train/a/*", "train/b/*", "test/*")
    assert f"got {root / 'test'} without 'a'" in refusal(root)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "wrapped").symlink_to(tmp_path)
    assert f"must hold a folder train/, got {tmp_path}" in refusal(tmp_path)
    root = write(tmp_path / "root", "train/a/x/*", "train/a/y/*", "train/b/z/*")
    (root / "train" / "b" / "z" / "again").symlink_to(root / "train" / "b")
    (root / "train" / "c").mkdir()
    (root / "train" / "c" / "again").symlink_to(root / "train" / "c")
    assert refusal(root).endswith(f"every class folder, got {root}/train/c without any")
    (root / "train" / "c" / "again").unlink()
    (root / "train" / "c").rmdir()
    assert read(root)[0] == ("a/x", "a/y", "b/z")
