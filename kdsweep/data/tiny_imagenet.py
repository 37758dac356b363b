"""Tiny ImageNet (Stanford's course CS231n, 2015): 200 classes of ImageNet at 64 x 64."""

from functools import cached_property
from pathlib import Path
from typing import Any

from kdsweep.data.images.class_folders import class_folder
from kdsweep.data.images.content import Part, content_digest
from kdsweep.data.images.decoding import ImageDecoder
from kdsweep.data.images.download import explain_failed_download, warn_if_incomplete
from kdsweep.data.images.entries import SkippedFiles
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.types import SourceData, UsesCache

FOLDER = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{FOLDER}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
BOXES = "_boxes.txt"  # one in each class folder
PUBLISHED = {"train": 100_000, "test": 10_000}


class TinyImageNet(UsesCache):
    """500 training images a class; the 50 a class of val/, as published, are the test set.

    The labels of test/ were never published, so it is not read. Classes are numbered in the order
    of their sorted WordNet ids, as all readers of the folders do, not in that of wnids.txt.

    Args:
        root: the folder that holds ``tiny-imagenet-200.zip`` or its content
            (``tiny-imagenet-200/``); downloaded (237 MiB) when neither is there.
        decoder: options of ``ImageDecoder``.
    """

    name = "tiny_imagenet"
    more_options = ImageDecoder

    def __init__(self, root: str, **decoder: Any) -> None:
        self.root = root
        self._folder = Path(root).expanduser() / FOLDER
        self._decoder, self._skipped = ImageDecoder(**decoder), SkippedFiles(published=BOXES)

    def load(self) -> SourceData:
        """Read all images, or only list them if they are to stay on disk.

        Raises ValueError if the archive is neither there nor can be downloaded, a file of it is
        missing, or an image is unreadable.
        """
        parts = self._parts  # which downloads what is missing
        names = self.class_names
        warn_if_incomplete(self._folder, parts, PUBLISHED)
        self._skipped.warn(self._folder)
        loaded = self._decoder.load(parts, names, self.cache)
        rules = self._decoder.rules
        return SourceData(loaded["train"], loaded["test"], names, decoding=rules)

    def digest(self) -> str:
        """Over relative paths, labels and bytes of the files."""
        return content_digest(self._parts, self.cache)

    @cached_property
    def _wnids(self) -> list[str]:
        """The classes' WordNet ids; downloads what is not there."""
        from torchvision.datasets.utils import download_and_extract_archive  # as in cifar.py

        if not self._folder.is_dir():
            with explain_failed_download({URL: MD5}, self._folder.parent, self.root):
                download_and_extract_archive(URL, self._folder.parent, md5=MD5)
        return sorted(self._lines("wnids.txt"))

    @cached_property
    def _parts(self) -> dict[str, Part]:
        wnids, val = self._wnids, self._folder / "val"
        train, skipped = self._folder / "train", self._skipped
        train_part = class_folder(
            train, wnids, skipped=skipped, known="wnids.txt", cache=self.cache
        )
        # Each line has a file, its class and a box, with tabs between.
        rows = [line.split("\t") for line in self._lines("val/val_annotations.txt")]
        number = {wnid: label for label, wnid in enumerate(wnids)}
        if odd := next((row for row in rows if len(row) < 2 or row[1] not in number), None):
            raise ValueError(
                f"dataset.root must hold annotations of the classes of wnids.txt, got {odd} in "
                f"{val}"
            )
        files = ImageFiles(self._folder, [val / "images" / file for file, *_ in rows])
        test_part = Part(files, [number[wnid] for _, wnid, *_ in rows])
        return {"train": train_part, "test": test_part}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The first of the words for each class, such as "Egyptian cat"."""
        wnids = self._wnids  # which downloads the file
        rows = (line.partition("\t") for line in self._lines("words.txt"))
        words = {wnid: text.split(",")[0] for wnid, _, text in rows}
        return tuple(words.get(wnid, wnid) for wnid in wnids)

    def _lines(self, file: str) -> list[str]:
        try:
            return (self._folder / file).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ValueError(
                f"dataset.root must hold {FOLDER} as it was in its archive, got {self._folder} "
                f"without {file}"
            ) from error
