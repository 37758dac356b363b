"""Encoded images in a table of Hugging Face's ``datasets``, an optional dependency."""

import hashlib
import json
import os
import time
from copy import copy
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.common.validation import import_package
from kdsweep.data.images.encoded import regular
from kdsweep.data.images.file_digests import are_settled


class TableImages:
    """A column of images as ``EncodedImages``; the table stays on disk."""

    root = None

    def __init__(self, table: Any, column: str, split: str) -> None:
        encoded = hf_datasets().Image(decode=False)
        self._table = table.select_columns([column]).cast_column(column, encoded)
        self._column, self._split = column, split
        self._files = [file["filename"] for file in table.cache_files]
        self._fingerprint = table._fingerprint  # of its files, and of what the library made of them
        self._rows: NDArray[np.int64] = np.arange(len(table))

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, row: int) -> Path | BinaryIO:
        image = self._table[int(self._rows[row])][self._column]
        if image is not None and image["bytes"] is None:
            return regular(Path(image["path"]))
        return BytesIO(image["bytes"] if image is not None else b"")

    def name(self, row: int) -> str:
        return f"row {self._rows[row]} of {self._split}"

    def key(self, row: int) -> str:
        return ""

    def num_bytes(self) -> list[int]:
        from pyarrow import compute  # comes with datasets

        images = self._table.with_format("arrow")[:][self._column]
        in_table = compute.binary_length(compute.struct_field(images, "bytes")).to_pylist()
        files = compute.struct_field(images, "path").to_pylist()
        every = [
            Path(file).stat().st_size if size is None and file else size or 0
            for size, file in zip(in_table, files, strict=True)
        ]
        return [every[row] for row in self._rows]

    def stamps(self, *, anew: bool = False) -> None:
        return None

    def table_state(self) -> str | None:
        from pyarrow import compute

        images = self._table.with_format("arrow")[:][self._column]
        # A table in memory has no files, and one that names images is not changed with them.
        if not self._files or compute.struct_field(images, "bytes").null_count:
            return None
        try:
            stats = [os.stat(file) for file in self._files]
        except OSError:  # one was removed after it was opened
            return None
        marks = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]
        if not are_settled(np.array(marks, np.int64), time.time_ns()).all():
            return None
        rows = hashlib.sha256(self._rows.tobytes()).hexdigest()
        return json.dumps([self._fingerprint, self._column, rows, self._files, marks])

    def subset(self, index: Tensor) -> "TableImages":
        chosen = copy(self)
        chosen._rows = self._rows[index.numpy()]
        return chosen


def hf_datasets() -> Any:
    """Hugging Face's library. Raises ValueError if it is not installed."""
    return import_package("datasets", "hf")
