"""Any folder of class folders: train/<class>/*, and optionally val/ and test/ of the same kind."""

from functools import cached_property
from pathlib import Path
from typing import Any

from kdsweep.common.notices import warn_once
from kdsweep.data.images.decoding import ImageDecoder, Part, content_digest
from kdsweep.data.images.files import SkippedFiles, class_folder, folder_names
from kdsweep.data.types import SourceData

# The names that folders of a part have in published data sets, the usual one first.
PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class ImageFolder:
    """Images of class folders; the classes are the folder names in train/, sorted.

    Without a train/ the folders of the root itself are the classes. With val/ and test/ both are
    used as given; if only one of them exists it is the test set; with neither the test set is cut
    off train/. Files are found in class folders at any depth, by their ending (.jpg, .png, .webp,
    ...); hidden files and folders are ignored. Other skipped files are counted in one warning. The
    other options are those of ``ImageDecoder``.
    """

    name = "image_folder"
    more_options = ImageDecoder

    def __init__(self, root: str | None, **decoder: Any) -> None:
        if root is None:
            raise ValueError("dataset.root must be given: the folder that holds train/")
        self.root = Path(root).expanduser()
        self._decoder = ImageDecoder(**decoder)
        self._skipped = SkippedFiles()

    def load(self) -> SourceData:
        """Read all images, or only list them if they are to stay on disk.

        Raises ValueError if there is no such folder, a class is empty or missing, an image is
        unreadable, or sizes differ and no image_size is given.
        """
        parts = self._parts
        self._skipped.warn(self.root)
        loaded = self._decoder.load(parts, self._class_names)
        val, test = loaded.get("val"), loaded.get("test")
        if val is not None and test is None:
            val, test = None, val
        return SourceData(loaded["train"], test, self._class_names, val)

    def digest(self) -> str:
        """Over relative paths, labels and bytes of the files."""
        return content_digest(self._parts)

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        if not self.root.is_dir():
            raise ValueError(f"dataset.root must be an existing folder, got {self.root}")
        train = self._folders["train"]
        names = folder_names(train)
        if len(names) < 2:
            raise ValueError(
                "dataset.root must hold at least 2 class folders in train/, "
                f"got {len(names)} in {train}"
            )
        return names

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """The folder of each part that exists."""
        folders = {}
        for part, names in PARTS.items():
            there = [name for name in names if (self.root / name).is_dir()]
            if len(there) > 1:
                raise ValueError(
                    f"dataset.root must hold one of {', '.join(f'{name}/' for name in names)},"
                    f" got {self.root} with {' and '.join(f'{name}/' for name in there)}"
                )
            if there:
                folders[part] = self.root / there[0]
                if there[0] != part:
                    warn_once(f"dataset.root: {there[0]}/ of {self.root} is used as {part}/")
        if not folders and len(folder_names(self.root)) > 1:
            warn_once(f"dataset.root: {self.root} has no train/, so its folders are the classes")
            return {"train": self.root}
        if "train" not in folders:
            parts = " and ".join(f"{folder.name}/" for folder in folders.values())
            has = f"with {parts} only" if parts else "without it"
            raise ValueError(f"dataset.root must hold a folder train/, got {self.root} {has}")
        return folders

    @cached_property
    def _parts(self) -> dict[str, Part]:
        """The files of each part that exists."""
        names = self._class_names
        return {
            part: class_folder(folder, names, skipped=self._skipped, root=self.root)
            for part, folder in self._folders.items()
        }
