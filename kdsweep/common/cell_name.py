"""The name of a cell as fields: `kl T=4 alpha=0.5 optimizer.lr=0.1`."""

import re
from typing import NamedTuple

SETTING = re.compile(r" (?=[@+\w./]+=)")  # the space before `key=`; values may contain spaces


class CellName(NamedTuple):
    """The loss of a cell and what its sweep varies, each value as on the command line."""

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
