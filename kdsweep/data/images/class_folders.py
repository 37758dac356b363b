"""The search for images in class folders, or in a folder without them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.pacing import with_lines
from kdsweep.data.images.content import Part
from kdsweep.data.images.entries import (
    DUPLICATE_LINK,
    OUTSIDE,
    SkippedFiles,
    folder_names,
    is_folder,
    kind_of,
    visible_entries,
)
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.images.formats import image_endings
from kdsweep.data.images.listings import FolderMark, KeptListing, Listing, mark_of


def class_folder(
    folder: Path,
    names: Sequence[str],
    *,
    skipped: SkippedFiles,
    known: str = "train/",
    there: Sequence[str] | None = None,
    root: Path | None = None,
    cache: DiskCache | None = None,
) -> Part:
    """All images of a part's folder, which must hold exactly the class folders ``names``.

    ``there`` are those it has, by default the folders in it.

    Files are found at any depth, by their ending; hidden files and folders are ignored. Only
    regular files are read, each once, even if several links lead to it: an image that lies in a
    class folder itself belongs to this class.

    ``known`` is the origin of the names, for the message about a difference. Paths of images are
    relative to ``root``, by default the folder above. ``cache`` keeps what was found until an entry
    of a folder is added, removed or renamed.
    """
    _check_names(folder, folder_names(folder) if there is None else there, names, known)
    root = root or folder.parent
    kept = KeptListing(cache, folder, names, root, skipped.published)
    listing = kept.read()
    if listing is None:
        listing = _listing(folder, names, root, skipped.published)
        kept.keep(listing)
    for words in listing.skipped:
        skipped.add(*words)
    if 0 in listing.counts:
        empty = folder / names[listing.counts.index(0)]
        raise ValueError(
            f"dataset.root must hold images in every class folder, got {empty} "
            f"without any{f', left out are {skipped}' if str(skipped) else ''}"
        )
    labels = chain.from_iterable(map(repeat, range(len(names)), listing.counts))
    return Part(ImageFiles(root, listing.paths), list(labels))


def flat_files(folder: Path, skipped: SkippedFiles) -> list[str]:
    """The paths of the images in a folder itself, in the order of their names."""
    paths = []
    for entry in visible_entries(folder):
        if is_folder(entry):
            continue
        if (kind := kind_of(entry)) in image_endings():
            paths.append(entry.path)
        else:
            skipped.add(kind, entry.path)
    return paths


def _check_names(folder: Path, there: Sequence[str], names: Sequence[str], known: str) -> None:
    missing, unknown = sorted({*names} - {*there}), sorted({*there} - {*names})
    if missing or unknown:
        odd = f"without {missing[0]!r}" if missing else f"with {unknown[0]!r}, unknown in {known}"
        raise ValueError(
            f"dataset.root must hold the same class folders in {folder.name}/ as in {known}, "
            f"got {folder} {odd}"
        )


def _listing(folder: Path, names: Sequence[str], root: Path, published: str | None) -> Listing:
    """What is found in class folders now."""
    skipped, marks = SkippedFiles(published), [mark_of(folder)]
    has_links = False
    for entry in visible_entries(folder):
        has_links |= entry.is_symlink()
        if not is_folder(entry):
            kind = kind_of(entry)
            skipped.add(OUTSIDE if kind in image_endings() else kind, entry.path)
    classes = [_ClassFolder(folder / name, root, skipped, marks) for name in names]
    files = chain.from_iterable(map(_ClassFolder.search, classes))
    for _ in with_lines(files, f"searching {folder.name} for images"):
        pass
    has_links |= any(one.has_links for one in classes)
    # Real paths need much memory, and matter only where links lead to them.
    taken = {path for one in classes for path in one.real_paths()} if has_links else set()
    paths = [one.paths(taken) for one in classes]
    counts = [len(of_class) for of_class in paths]
    # Nothing shows that the target of a link has changed.
    return Listing(np.concatenate(paths), counts, skipped.kinds(), [] if has_links else marks)


class _Files(NamedTuple):
    """The images that lie in one folder itself, in the order of their names."""

    folder: str  # relative to the root, with a separator at its end
    real: str  # the same folder with all links resolved
    paths: NDArray[np.bytes_]  # relative to the root


@dataclass
class _ClassFolder:
    """The images below a class folder, those that links lead to apart.

    Attributes:
        marks: of all folders that are searched; those of this one are added.
    """

    folder: Path
    root: Path
    skipped: SkippedFiles
    marks: list[FolderMark]
    has_links: bool = False
    own: list[_Files] = field(default_factory=list)
    linked: list[tuple[str, str]] = field(default_factory=list)  # paths, with links and without

    def search(self) -> Iterator[None]:
        """Find them; an item for each. No folder is visited twice, so cycles of links end."""
        visited: set[str] = set()
        self.has_links = self.folder.is_symlink()
        own, linked = ([], [str(self.folder)]) if self.has_links else ([str(self.folder)], [])
        while own or linked:
            is_linked = not own  # links come last, so that an image counts where it lies
            parent = (own or linked).pop()
            real_parent = os.path.realpath(parent)
            if real_parent in visited:
                self.skipped.add(DUPLICATE_LINK, parent)
                continue
            visited.add(real_parent)
            self.marks.append(mark_of(parent))
            names = []
            for entry in visible_entries(parent):
                is_link = entry.is_symlink()
                self.has_links |= is_link
                via_link = is_linked or is_link
                if is_folder(entry):
                    real = os.path.realpath(entry.path)
                    if Path(real_parent).is_relative_to(real):
                        self.skipped.add(DUPLICATE_LINK, entry.path)
                    else:
                        (linked if via_link else own).append(entry.path)
                elif (kind := kind_of(entry)) not in image_endings():
                    self.skipped.add(kind, entry.path)
                elif via_link:
                    self.linked.append((entry.path, os.path.realpath(entry.path)))
                    yield
                else:
                    names.append(entry.name)
                    yield
            if names:
                self.own.append(self._files(parent, real_parent, names))

    def _files(self, parent: str, real: str, names: Sequence[str]) -> _Files:
        folder = os.path.join(os.path.relpath(parent, self.root), "")
        encoded = os.fsencode(folder)
        paths = np.array([encoded + os.fsencode(name) for name in names])
        return _Files(folder, real, paths)

    def real_paths(self) -> Iterator[str]:
        """Those of the images that no link leads to."""
        for folder, real, paths in self.own:
            for path in paths.tolist():
                yield os.path.join(real, os.fsdecode(path)[len(folder) :])

    def paths(self, taken: set[str]) -> NDArray[np.bytes_]:
        """All images relative to the root, in order, except those whose real path is ``taken``.

        What a link leads to is taken then.
        """
        arrays = [files.paths for files in self.own]
        for path, real in self.linked:
            if real in taken:
                self.skipped.add(DUPLICATE_LINK, path)
            else:
                taken.add(real)
                arrays.append(np.array([os.fsencode(os.path.relpath(path, self.root))]))
        if len(arrays) < 2:  # in the order of their names already
            return arrays[0] if arrays else np.empty(0, "S1")
        paths = [path for array in arrays for path in array.tolist()]
        return np.array(sorted(paths, key=_in_order_of_folders))


def _in_order_of_folders(path: bytes) -> list[str]:
    """The key of the order that ``pathlib`` sorts paths in, folder by folder."""
    return os.path.normcase(os.fsdecode(path)).split(os.sep)
