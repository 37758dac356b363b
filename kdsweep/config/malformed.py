"""The words of a command line as overrides, and what is wrong with those that are none."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from kdsweep.common.suggestions import did_you_mean

CLOSING = {"[": "]", "{": "}", "(": ")"}


def parse(words: Sequence[str]) -> tuple[list[Override], list[str]]:
    """The overrides among the words, and a sentence for each word that is none."""
    overrides: list[Override] = []
    faults: list[str] = []
    rest = list(words)
    while rest:
        if (count := _split_by_spaces(rest)) > 1:
            whole, got = "".join(rest[:count]), " ".join(rest[:count])
            key = whole.partition("=")[0]
            faults.append(f"{key} must be written without spaces, {whole}, got {got}")
        else:
            count = 1
            try:
                overrides.append(_parsed(rest[0]))
            except HydraException as error:
                faults.append(_fault(rest[0], error))
        rest = rest[count:]
    return overrides, faults


def _parsed(word: str) -> Override:
    override = OverridesParser.create().parse_override(word)
    if not override.key_or_group:
        raise HydraException("no key")
    return override


def _parses(word: str) -> bool:
    try:
        _parsed(word)
    except HydraException:
        return False
    return True


def _split_by_spaces(words: Sequence[str]) -> int:
    """How many words are one override with spaces in it, `T = 4` or `loss=[kl, ce]`; 1 if none."""
    first, *others = words
    key, equals, value = first.partition("=")
    if not others or not re.fullmatch(r"[+~]*[\w./@-]+", key):
        return 1
    if not equals and others[0].startswith("="):
        count = 3 if others[0] == "=" and len(others) > 1 else 2
        return count if _parses("".join(words[:count])) else 1
    if equals and not value and "=" not in others[0] and not others[0].startswith("~"):
        return 2 if _parses("".join(words[:2])) else 1
    if equals and (_imbalance(value) or value.endswith(",")):
        for count in range(2, len(words) + 1):
            if "=" in words[count - 1]:
                return 1
            if _parses("".join(words[:count])):
                return count
    return 1


def _fault(word: str, error: HydraException) -> str:
    key, equals, value = word.partition("=")
    name = key.strip().lstrip("+~")
    if not name.strip("@"):
        return f"a word of the command line must be KEY=VALUE, got {word or 'an empty word'}"
    if not equals:
        if _parses(f"{key}=1") and not word.startswith("~"):
            return f"{name} must be followed by = and a value, {name}=VALUE, got {word}"
        return f"a word of the command line must be KEY=VALUE, got {word}"
    if key != key.strip() and _parses(f"{key.strip()}={value.strip()}"):
        whole = f"{key.strip()}={value.strip()}"
        return f"{name} must be written without spaces around =, {whole}, got {word}"
    if not _parses(f"{key}=1"):
        return f"{name} must be a key of names with dots between them, got {word}"
    return f"{name} must {_value_fault(value, error)}"


def _value_fault(value: str, error: HydraException) -> str:
    if " while evaluating " in str(error):
        return _call_fault(value, error)
    if (imbalance := _imbalance(value)) is not None:
        return f"have {imbalance}, got {value}"
    if re.search(r"(^|[,\[{(])\s*,|,\s*($|[\]})])", value):
        return f"have a value on both sides of each comma, got {value}"
    return f"have its value in quotes, {_quoted(value)}, got {value}"


def _call_fault(value: str, error: HydraException) -> str:
    """What is wrong with a function of Hydra's grammar: `T=rnage(4)`, `T=interval(1)`."""
    functions = sorted(OverridesParser.create().functions.definitions)
    name = re.search(r" while evaluating '\s*(\w+)", str(error))
    called = "" if name is None else name[1]
    if called not in functions:
        hint = did_you_mean(called, functions)
        return f"be a value or a call of one of {', '.join(functions)}, got {value}{hint}"
    reason = (str(error.__cause__ or error).splitlines() or ["it cannot be evaluated"])[0]
    return f"be a call that {called} takes, got {value}: {reason}"


def _quoted(value: str) -> str:
    quote = '"' if "'" in value else "'"
    return f"{quote}{value}{quote}"


def _imbalance(value: str) -> str | None:
    """What a bracket or a quote of a value lacks."""
    expected: list[str] = []
    quote = ""
    for character in re.sub(r"\\.", "", value):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in CLOSING:
            expected.append(CLOSING[character])
        elif character in CLOSING.values() and (not expected or expected.pop() != character):
            return f"an opening bracket for each {character}"
    if quote:
        return f"a closing {quote}"
    return f"a closing {expected[-1]}" if expected else None
