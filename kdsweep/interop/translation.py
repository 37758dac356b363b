"""The result of a translation: overrides for train.py."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from kdsweep.errors import UserError


class Translation(NamedTuple):
    """Overrides for train.py, and notes about them."""

    words: list[str]
    notes: list[str]


def distillation(term: str, *, T: float, soft: float, hard: float) -> list[str]:
    """The overrides for a soft term with a temperature, and the hard term.

    Raises UserError for a weight < 0.
    """
    return [f"loss={term}", f"T={number(T)}", *weights(term, soft=soft, hard=hard)]


def weights(term: str, *, soft: float, hard: float) -> list[str]:
    """The overrides for the weights of a soft term and of the hard term. Raises as above."""
    for part, weight in (("soft", soft), ("hard", hard)):
        if weight < 0:
            raise UserError(f"the weight of the {part} part must be >= 0, got {number(weight)}")
    return [f"loss.{term}.weight={number(soft)}", f"hard_weight={number(hard)}"]


def numbers(text: str) -> Sequence[str]:
    """The numbers of a list, "150,180,210" or "[150, 180, 210]"."""
    return [part.strip() for part in text.strip("[]()").split(",")]


def number(value: float) -> str:
    """A number as a person writes it, without the rounding error of 1 - 0.9."""
    return f"{value:.15g}"


def quoted(text: str) -> str:
    """A text as the value of an override, in quotes where Hydra requires them."""
    if re.fullmatch(r"[\w./~+-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
