"""The result of a translation: overrides for train.py."""

from collections.abc import Sequence
from typing import NamedTuple

from kdsweep.errors import UserError


class Translation(NamedTuple):
    """Overrides for train.py, and notes about them."""

    words: list[str]
    notes: list[str]


def distillation(
    term: str, *, T: float, soft: float, hard: float, notes: Sequence[str] = ()
) -> Translation:
    """A soft term with a temperature, and the hard term. Raises UserError for a weight < 0."""
    for part, weight in (("soft", soft), ("hard", hard)):
        if weight < 0:
            raise UserError(f"the weight of the {part} part must be >= 0, got {number(weight)}")
    words = [f"loss={term}", f"T={number(T)}", f"loss.{term}.weight={number(soft)}"]
    return Translation([*words, f"hard_weight={number(hard)}"], [*notes])


def number(value: float) -> str:
    """A number as a person writes it, without the rounding error of 1 - 0.9."""
    return f"{value:.15g}"
