"""Any folder of class folders: train/<class>/*, and optionally val/ and test/ of the same kind."""

from functools import cached_property
from pathlib import Path
from typing import Any

from kdsweep.data.images.decoding import ImageDecoder, Part, content_digest
from kdsweep.data.images.files import SkippedFiles, class_folder, folder_names
from kdsweep.data.types import SourceData


class ImageFolder:
    """Images of class folders; the classes are the folder names in train/, sorted.

    With val/ and test/ both are used as given; if only one of them exists it is the test set; with
    neither the test set is cut off train/. Files are found in class folders at any depth, by their
    ending (.jpg, .png, .webp, ...); hidden files and folders are ignored. Other skipped files
    are counted in one warning. The other options are those of ``ImageDecoder``.
    """

    name = "image_folder"

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
        names = folder_names(self.root / "train")
        if len(names) < 2:
            raise ValueError(
                "dataset.root must hold at least 2 class folders in train/, "
                f"got {len(names)} in {self.root / 'train'}"
            )
        return names

    @cached_property
    def _parts(self) -> dict[str, Part]:
        """The files of each part that exists."""
        names = self._class_names
        folders = {part: self.root / part for part in ("train", "val", "test")}
        return {
            part: class_folder(path, names, skipped=self._skipped)
            for part, path in folders.items()
            if path.is_dir()
        }
