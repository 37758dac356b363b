"""Cells of a sweep: their names as fields, and their places over T and alpha."""

import re
from collections.abc import Collection
from typing import NamedTuple

MAX_TABLE_SIDE = 8  # a search's points, each with a T of its own, are no table
SETTING = re.compile(r" (?=[@+\w./]+=)")  # the space before `key=`; values may contain spaces


class CellName(NamedTuple):
    """`kl T=4 alpha=0.5 optimizer.lr=0.1`: the loss, and what varies, as on the command line."""

    loss: str
    T: str | None
    alpha: str | None
    others: dict[str, str]  # in the order of the name

    @classmethod
    def parse(cls, text: str) -> "CellName":
        """The fields of a name."""
        loss, *words = SETTING.split(text)
        others = dict(word.split("=", 1) for word in words)
        return cls(loss, others.pop("T", None), others.pop("alpha", None), others)

    @property
    def settings(self) -> dict[str, str]:
        """T, alpha and the others by key, as far as they are in the name."""
        soft = {"T": self.T, "alpha": self.alpha}
        return {**{key: value for key, value in soft.items() if value is not None}, **self.others}

    def __str__(self) -> str:
        return " ".join([self.loss, *(f"{key}={value}" for key, value in self.settings.items())])


def is_scattered(points: Collection[tuple[float, float]]) -> bool:
    """Whether points of (T, alpha) are spread like a search's, and are not the boxes of a table."""
    columns, rows = (len(set(values)) for values in zip(*points, strict=True))
    return max(columns, rows) > MAX_TABLE_SIDE and 2 * len(points) < columns * rows
