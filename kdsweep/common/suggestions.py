"""The option that a mistyped word most likely means."""

import difflib
from collections.abc import Iterable

CUTOFF = 0.6  # similarity from 0 to 1 below which an option is another word, not a misspelling


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option most similar to a word, whatever its case; None if none is similar.

    The first of equally similar ones is returned.
    """
    by_lower_case: dict[str, str] = {}
    for option in options:
        by_lower_case.setdefault(option.lower(), option)
    found = difflib.get_close_matches(word.lower(), list(by_lower_case), n=1, cutoff=CUTOFF)
    return by_lower_case[found[0]] if found else None
