"""Passwords in addresses (of MLflow's store, of a study's): in no config, command, file or message.

A password is taken out of the command line before Hydra reads it, and out of every config that is
composed; what is then written and shown has `***` in its place. Whoever connects calls `reveal`.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
VARIABLE = "KDSWEEP_ADDRESSES"  # hidden address -> address, as JSON: child processes need it, too
WITHOUT_PASSWORD = ("http://", "https://", "sqlite", "/", ".")  # what `clean` finds none in
TRACKING = ("tracking.uri", "tracking.artifacts")
KEYS = (*TRACKING, "hydra.sweeper.storage")  # their values are addresses

# A password that is an interpolation, `${oc.env:PASSWORD}`, is none yet. A database's may hold any
# sign but a space, so it ends where the rest reads as HOST/DATABASE?OPTIONS.
_SERVER = re.compile(
    r"(?i)(?P<head>\bhttps?://[^\s/:@]*:)(?!\$\{)(?P<password>[^\s/]*)"
    r"(?P<tail>@[^\s@/?]*(?:[/?#]\S*)?)(?!\S)"
)
_DATABASE = re.compile(
    r"(?i)(?P<head>\b(?!https?:)[a-z][\w+.-]*://[^\s/:@]*:)(?!\$\{)(?P<password>\S*?)"
    r"(?P<tail>@[^\s@/?]*(?:/[^\s?@]*)?(?:\?\S*)?)(?!\S)"
)
_MISTYPED = re.compile(r"(?P<head>:)(?!//)(?P<password>.*)(?P<tail>@)")
_OPTION = re.compile(
    r"(?i)(?P<head>(?:[?&;]|%3b)[\w.]*(?:password|passwd|pwd|token|secret)(?:=|%3d))(?!\$\{)"
    r"(?P<password>(?:(?!&|;|%3b)[^\s'\"])+)(?P<tail>)"
)
_HOW_TO_GIVE = {
    "postgresql": "the environment (PGPASSWORD) or ~/.pgpass",
    "http": "the environment (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)",
    "https": "the environment (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)",
}


def redact_password(address: str) -> str:
    """An address without its password, even if it is mistyped."""
    known = redact_text(address)
    is_plain = MASK not in known and "${" not in known and not known.startswith(WITHOUT_PASSWORD)
    return _masked(known, _MISTYPED) if is_plain else known


def redact_text(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    return _masked(text, _SERVER, _DATABASE, _OPTION)


def _masked(text: str, *patterns: re.Pattern[str]) -> str:
    for pattern in patterns:
        text = pattern.sub(rf"\g<head>{MASK}\g<tail>", text)
    return text


def redact_nested(value: Any) -> Any:
    """A plain value with all texts in it `clean`."""
    if isinstance(value, Mapping):
        return {key: redact_nested(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [redact_nested(child) for child in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_argument(word: str) -> str:
    """A word of the command line without passwords, which `reveal` knows from now on."""
    key, equals, value = word.partition("=")
    if key.lstrip("+") not in KEYS:
        return redact_text(word)
    quote = value[0] if value[:1] in ("'", '"') and value[-1:] == value[:1] else ""
    return f"{key}{equals}{quote}{register_address(value.strip(quote or None))}{quote}"


def register_address(address: str) -> str:
    """The address without its password, which `reveal` knows from now on."""
    hidden = redact_password(address)
    if hidden != address:
        os.environ[VARIABLE] = json.dumps({**_known(), hidden: address})
    return hidden


def reveal(address: str) -> str:
    """The address to connect to: with its password if this process was given it, else without one.

    Without one a database's driver looks into the environment (`PGPASSWORD`, `~/.pgpass`).
    """
    known = _known().get(address)
    if known is None:
        return _without_mask(address)
    # Drivers end a password at its first @, so that sign has to be written as %40 in it.
    for pattern in (_SERVER, _DATABASE):
        known = pattern.sub(
            lambda found: found["head"] + found["password"].replace("@", "%40") + found["tail"],
            known,
        )
    return known


def lacks_password(address: str) -> bool:
    """Whether an address has had a password that this process was not given."""
    return MASK in address and address not in _known()


def how_to_give(address: str) -> str:
    """Where the password of an address may stand instead, in words."""
    return _HOW_TO_GIVE.get(re.split(r"[+:]", address)[0], "the address")


def _known() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get(VARIABLE, "{}"))
    return found


def _without_mask(address: str) -> str:
    mask = re.escape(MASK)
    address = re.sub(rf"(?i)^(https?://)[^/]*:{mask}@", r"\1", address).replace(f":{MASK}@", "@")
    return (
        re.sub(rf"[^?&;]*={mask}[&;]?", "", address).rstrip("?&;") if MASK in address else address
    )
