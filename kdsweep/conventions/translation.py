"""What a translation is made of: overrides for train.py."""

from collections.abc import Sequence
from typing import NamedTuple


class Translation(NamedTuple):
    """Overrides for train.py, and what is to be known about them."""

    words: list[str]
    notes: list[str]


def distillation(
    term: str, *, T: float, soft: float, hard: float, notes: Sequence[str] = ()
) -> Translation:
    """One term with a temperature, and the hard one."""
    words = [f"loss={term}", f"T={number(T)}", f"loss.{term}.weight={number(soft)}"]
    return Translation([*words, f"hard_weight={number(hard)}"], [*notes])


def number(value: float) -> str:
    """As a person writes it, and without the noise of 1 - 0.9."""
    return f"{value:.15g}"
