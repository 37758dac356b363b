"""Addresses of tracking servers that cannot be right, whatever is running there."""

import re
from urllib.parse import urlsplit


def fault_of(address: str) -> str | None:
    """What is wrong with an http(s) address, None if it is well-formed.

    An address that urllib splits in another place than its author meant leads to another host, and
    to the message that there is no such host.
    """
    if re.search(r"\s", address.strip()):
        return "an address has no spaces; one in a password is written as %20"
    try:
        parts = urlsplit(address)
        rest = address.partition(parts.netloc)[2] if parts.netloc else ""
        port = parts.port
    except ValueError as error:
        if "@" in address:  # a port that is no number is the beginning of a password
            return _UNQUOTED
        return _PORT if "port" in str(error).lower() else "it is no IPv6 address"
    if re.match(r"[/?#][^@]*:[^@]*@", rest):
        return _UNQUOTED
    if not parts.hostname:
        return "it names no host"
    return _PORT if port == 0 else None


_PORT = "a port is a number from 1 to 65535"
_UNQUOTED = "/, ? and # in its user or password are written as %2F, %3F and %23"


def without_login(address: str) -> str:
    """An address in which everything up to its last @ is masked."""
    return re.sub(r"//.*@", "//***@", address)
