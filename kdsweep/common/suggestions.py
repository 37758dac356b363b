"""The option that a mistyped word most likely means."""

from collections.abc import Iterable
from difflib import SequenceMatcher

CUTOFF = 0.6  # similarity from 0 to 1 below which an option is another word, not a misspelling


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option most similar to a word, whatever its case; None if none is similar.

    The first of equally similar ones is returned.
    """
    ranked = nearest_first(word, options)
    return ranked[0] if ranked and _similarity(word, ranked[0]) >= CUTOFF else None


def nearest_first(word: str, options: Iterable[str]) -> list[str]:
    """The options, the most similar to a word first, equally similar ones in their order."""
    return sorted(options, key=lambda option: -_similarity(word, option))


def did_you_mean(word: str, options: Iterable[str], prefix: str = "") -> str:
    """The end of a refusal, `; did you mean trainer.epochs?`, or nothing.

    ``prefix`` is put in front of the option: the config key that it is an option of.
    """
    option = nearest(word, options)
    return "" if option is None else f"; did you mean {prefix}{option}?"


def _similarity(word: str, option: str) -> float:
    return SequenceMatcher(None, option.lower(), word.lower()).ratio()
