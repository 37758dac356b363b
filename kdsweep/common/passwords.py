"""Passwords in addresses of MLflow stores and studies: kept out of configs, files and messages.

A password is removed from the command line before Hydra reads it, and from every composed config;
`***` replaces it in all that is written and printed. `reveal` gives the address to connect to.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
VARIABLE = "KDSWEEP_ADDRESSES"  # hidden address -> address, as JSON: also for child processes
# Addresses that have none if `redact_text` finds none.
WITHOUT_PASSWORD = ("http://", "https://", "sqlite", "journal:", "/", ".")
TRACKING = ("tracking.uri", "tracking.artifacts")
KEYS = (*TRACKING, "hydra.sweeper.storage")  # their values are addresses

# An interpolation, `${oc.env:PASSWORD}`, is not a password. That of a database may have any
# character but a space, so it ends where the rest matches HOST/DATABASE?OPTIONS.
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
    """An address with its password masked, even if it is mistyped."""
    known = redact_text(address)
    is_plain = MASK not in known and "${" not in known and not known.startswith(WITHOUT_PASSWORD)
    return _masked(known, _MISTYPED) if is_plain else known


def redact_text(text: str) -> str:
    """A text, with the passwords of all addresses in it masked."""
    return _masked(text, _SERVER, _DATABASE, _OPTION)


def _masked(text: str, *patterns: re.Pattern[str]) -> str:
    for pattern in patterns:
        text = pattern.sub(rf"\g<head>{MASK}\g<tail>", text)
    return text


def redact_nested(value: Any) -> Any:
    """A nested value with all its texts redacted."""
    if isinstance(value, Mapping):
        return {key: redact_nested(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [redact_nested(child) for child in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_argument(word: str) -> str:
    """An argument of the command line without its password, which is kept for `reveal`."""
    key, equals, value = word.partition("=")
    if key.lstrip("+") not in KEYS:
        return redact_text(word)
    quote = value[0] if value[:1] in ("'", '"') and value[-1:] == value[:1] else ""
    return f"{key}{equals}{quote}{register_address(value.strip(quote or None))}{quote}"


def register_address(address: str) -> str:
    """The address without its password, which is kept for `reveal`."""
    hidden = redact_password(address)
    if hidden != address:
        os.environ[VARIABLE] = json.dumps({**_known(), hidden: address})
    return hidden


def reveal(address: str) -> str:
    """The address to connect to: with its password if this process has it, else without.

    Without one a database's driver uses the environment (`PGPASSWORD`, `~/.pgpass`).
    """
    known = _known().get(address)
    if known is None:
        mask = re.escape(MASK)
        plain = re.sub(rf"(?i)^(https?://)[^/]*:{mask}@", r"\1", address).replace(f":{MASK}@", "@")
        if MASK in plain:  # in an option
            plain = re.sub(rf"[^?&;]*={mask}[&;]?", "", plain).rstrip("?&;")
        return plain
    # Drivers end a password at its first @, which must be written as %40.
    for pattern in (_SERVER, _DATABASE):
        known = pattern.sub(
            lambda match: match["head"] + match["password"].replace("@", "%40") + match["tail"],
            known,
        )
    return known


def lacks_password(address: str) -> bool:
    """Whether an address has a masked password that this process does not have."""
    return MASK in address and address not in _known()


def how_to_give(address: str) -> str:
    """Other places for the password of an address, in words."""
    return _HOW_TO_GIVE.get(re.split(r"[+:]", address)[0], "the address")


def _known() -> dict[str, str]:
    addresses: dict[str, str] = json.loads(os.environ.get(VARIABLE, "{}"))
    return addresses
