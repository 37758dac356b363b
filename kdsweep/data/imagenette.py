"""Imagenette (fast.ai 2019, github.com/fastai/imagenette): ten easy classes of ImageNet."""

from functools import cached_property
from pathlib import Path
from typing import Any

from kdsweep.common.validation import check_option
from kdsweep.data.images.class_folders import class_folder
from kdsweep.data.images.content import Part, content_digest
from kdsweep.data.images.decoding import ImageDecoder
from kdsweep.data.images.download import explain_failed_download, warn_if_incomplete
from kdsweep.data.images.entries import SkippedFiles, folder_names
from kdsweep.data.types import SourceData, UsesCache

# Size of the images, in torchvision's words: folder of its archive.
FOLDERS = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
URL = "https://s3.amazonaws.com/fast-ai-imageclas/{}.tgz"
PUBLISHED = {"train": 9469, "test": 3925}


class Imagenette(UsesCache):
    """9,469 training images; the 3,925 of val/, on which results are published, are the test set.

    Args:
        root: the folder that holds the archive (``imagenette2-320.tgz``) or its content
            (``imagenette2-320/``); downloaded when neither is there.
        size: ``full``, ``320px`` or ``160px``, the shorter side (1,485, 326 or 94 MiB).
        decoder: options of ``ImageDecoder``.
    """

    name = "imagenette"
    more_options = ImageDecoder

    def __init__(self, root: str, size: str = "320px", **decoder: Any) -> None:
        check_option("dataset.source.size", size, FOLDERS)
        self.root, self._size = root, size
        self._folder = Path(root).expanduser() / FOLDERS[size]
        self._decoder, self._skipped = ImageDecoder(**decoder), SkippedFiles()

    def load(self) -> SourceData:
        """Read all images, or only list them if they are to stay on disk.

        Raises ValueError if the archive is neither there nor can be downloaded, or an image is
        unreadable.
        """
        parts = self._parts
        warn_if_incomplete(self._folder, parts, PUBLISHED)
        self._skipped.warn(self._folder)
        loaded = self._decoder.load(parts, self.class_names, self.cache)
        names, rules = self.class_names, self._decoder.rules
        return SourceData(loaded["train"], loaded["test"], names, decoding=rules)

    def digest(self) -> str:
        """Over relative paths, labels and bytes of the files."""
        return content_digest(self._parts, self.cache)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Readable names, in the order of the folders."""
        from torchvision import datasets  # takes two seconds to import

        assert self._parts  # which downloads the folders
        try:
            published = datasets.Imagenette(self._folder.parent, size=self._size)
        except KeyError as error:
            raise ValueError(
                "dataset.root must hold no other classes than those of Imagenette, got "
                f"{self._folder} with {error}"
            ) from error
        return tuple(names[0] for names in published.classes)

    @cached_property
    def _parts(self) -> dict[str, Part]:
        """The files; downloads what is not there."""
        from torchvision import datasets  # as above

        folder = self._folder
        if not folder.is_dir():
            _, md5 = datasets.Imagenette._ARCHIVES[self._size]
            published = {URL.format(folder.name): md5}
            with explain_failed_download(published, folder.parent, self.root):
                datasets.Imagenette(folder.parent, size=self._size, download=True)
        classes = folder_names(folder / "train")
        return {
            part: class_folder(folder / name, classes, skipped=self._skipped, cache=self.cache)
            for part, name in (("train", "train"), ("test", "val"))
        }
