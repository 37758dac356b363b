"""How a folder of images is laid out: its parts (train, val, test), and their class folders."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from kdsweep.common.notices import warn_once
from kdsweep.data.images.entries import folder_names, is_image, is_visible, visible_entries

# The names that folders and tables of a part have in published data sets, the usual one first.
PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SUFFIX = re.compile(r"[ _-]?(set|data|images|imgs)$")  # training_set/, test_images/
LIKE_TEST = re.compile("(?:^|[^a-z])(?:test|eval|hold.?out)", re.IGNORECASE)
WORDS = re.compile(r"[^a-z]+")
IMAGES = "images"
TABLES = (".csv", ".tsv")


def part_named(name: str) -> str | None:
    """The part that a folder or a table has the name of, in any case; None for another name."""
    word = SUFFIX.sub("", name.lower())
    return next((part for part, names in PARTS.items() if word in names), None)


def innermost(root: Path) -> Path:
    """The folder that holds the data set: an archive may have packed it into another folder."""
    folder = root
    while (only := _only_folder(folder)) is not None and part_named(only.name) is None:
        folder = only
    if folder != root:
        warn_once(f"dataset.root: {folder} is read, because {root} holds nothing else")
    return folder


def part_folders(home: Path) -> dict[str, Path]:
    """The folder of each part that exists, train, val and test in this order.

    Raises ValueError if a part has several folders.
    """
    by_part: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in folder_names(home):
        if (part := part_named(name)) is not None:
            by_part[part].append(name)
    folders = {}
    for part, names in by_part.items():
        if len(names) > 1:
            there = sorted(names, key=lambda name: (name not in PARTS[part], name))
            raise ValueError(
                f"dataset.root must hold one of {', '.join(f'{name}/' for name in PARTS[part])},"
                f" got {home} with {' and '.join(f'{name}/' for name in there)}"
            )
        if names:
            folders[part] = home / names[0]
    _explain_names(home, folders)
    return {part: _unwrapped(folder) for part, folder in folders.items()}


def _explain_names(home: Path, folders: Mapping[str, Path]) -> None:
    """Log which folders are used as parts that they do not have the name of."""
    for part, folder in folders.items():
        if part == "val" and "test" not in folders:
            warn_once(
                f"dataset.root: {folder.name}/ of {home} is the test set, as there is no other"
            )
        elif folder.name != part:
            warn_once(f"dataset.root: {folder.name}/ of {home} is used as {part}/")


def refuse_parts_as_classes(home: Path, names: tuple[str, ...]) -> None:
    """Raise ValueError if the folders of a root without train/ are parts of another name."""
    odd = {part: [n for n in names if _mentions(n, part)] for part in PARTS}
    if odd["train"] and (others := odd["val"] + odd["test"]):
        there = " and ".join(f"{name}/" for name in (odd["train"][0], others[0]))
        raise ValueError(
            "dataset.root must hold its training images in train/ and test images in test/,"
            f" got {home} with {there}"
        )


def unread_test_set(home: Path) -> Path | None:
    """What may be meant as a test set in a folder that has none; None if nothing may."""
    named = (Path(entry.path) for entry in visible_entries(home) if LIKE_TEST.search(entry.name))
    return next(named, None)


def tables_in(home: Path) -> list[Path]:
    """The tables in a folder, sorted."""
    return [
        Path(entry.path)
        for entry in visible_entries(home)
        if entry.is_file() and Path(entry.name).suffix.lower() in TABLES
    ]


def class_folders(folders: Mapping[str, Path], nested: bool | None) -> dict[str, tuple[str, ...]]:
    """The class folders of each part, as paths relative to it, sorted.

    Those are the folders in train/, if ``nested`` is false; if it is true, all folders that hold
    images. None: the latter where every folder in train/ has only folders of images, at one depth,
    and no name occurs twice among these, and they are the same in val/ and test/.

    Raises ValueError if images lie at several depths, so that neither can be meant.
    """
    plain = {part: folder_names(folder) for part, folder in folders.items()}
    if nested is False:
        return plain
    paths = {part: _paths_of_images(folder, plain[part]) for part, folder in folders.items()}
    named = {
        part: tuple(sorted(map(str, folders_of_part))) for part, folders_of_part in paths.items()
    }
    if nested:
        return named
    train = paths["train"]
    below = [path.relative_to(path.parts[0]) for path in train if len(path.parts) > 1]
    if len({path.parts[0] for path in train}) == len(train):
        return plain  # each folder in train/ holds images itself, or has one folder of images
    if len(set(below)) < len(below):
        return _with_line(plain, folders, "folders of equal names lie below several of them")
    _refuse_other_depths(folders["train"], train)
    if empty := {*plain["train"]} - {path.parts[0] for path in train}:
        raise ValueError(
            "dataset.root must hold images in every class folder, got"
            f" {folders['train'] / min(empty)} without any"
        )
    if any(names != named["train"] for names in named.values()) and len({*plain.values()}) == 1:
        return _with_line(plain, folders, "the folders below them differ between parts")
    warn_once(
        f"dataset.root: the classes of {folders['train']} are the folders that hold images, such as"
        f" {named['train'][0]!r} (dataset.source.nested=false: the folders above them)"
    )
    return named


def _with_line(
    plain: dict[str, tuple[str, ...]], folders: Mapping[str, Path], why: str
) -> dict[str, tuple[str, ...]]:
    warn_once(
        f"dataset.root: the classes are the folders in {folders['train']}, because {why}"
        " (dataset.source.nested=true: every folder that holds images)"
    )
    return plain


def _refuse_other_depths(folder: Path, paths: list[PurePosixPath]) -> None:
    shallow, deep = (pick(paths, key=lambda path: len(path.parts)) for pick in (min, max))
    if len(shallow.parts) != len(deep.parts):
        raise ValueError(
            "dataset.source.nested must be true (every folder that holds images is a class) or"
            f" false (the folders in {folder.name}/ are) where images lie at several depths, got"
            f" null with {folder / shallow} and {folder / deep}"
        )


def _paths_of_images(folder: Path, names: tuple[str, ...]) -> list[PurePosixPath]:
    """The folders that hold images, without a last folder that all have, as in wnid/images/."""
    paths = [path for name in names for path in _topmost(folder, PurePosixPath(name), set())]
    while (
        len(paths) > 1
        and len({p.name for p in paths}) == 1
        and min(len(p.parts) for p in paths) > 1
    ):
        paths = [path.parent for path in paths]
    return list(dict.fromkeys(paths))


def _topmost(folder: Path, path: PurePosixPath, visited: set[str]) -> Iterator[PurePosixPath]:
    """The folders from ``path`` down that hold images themselves, those below them left out."""
    if (real := os.path.realpath(folder / path)) in visited:  # a cycle of links
        return
    visited.add(real)
    if _holds_images(folder / path):
        yield path
        return
    for name in folder_names(folder / path):
        yield from _topmost(folder, path / name, visited)


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:  # a class may have a million: not sorted, and not all
        return any(is_visible(entry) and is_image(entry) for entry in entries)


def _only_folder(folder: Path) -> Path | None:
    """The only folder in another one that holds no images or tables itself."""
    names = folder_names(folder)
    if len(names) != 1 or _holds_images(folder) or tables_in(folder):
        return None
    only = folder / names[0]
    return None if folder.resolve().is_relative_to(only.resolve()) else only  # a cycle of links


def _unwrapped(folder: Path) -> Path:
    """A part's folder, or the one in it that has such a name again: train/train/, train/images/."""
    only = _only_folder(folder)
    if only is None or len(folder_names(only)) < 2:
        return folder
    again = only.name.lower() == IMAGES or part_named(only.name) == part_named(folder.name)
    return only if again else folder


def _mentions(name: str, part: str) -> bool:
    return not {*WORDS.split(name.lower())}.isdisjoint(PARTS[part])
