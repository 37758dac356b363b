"""Addresses of tracking servers that cannot be right."""

import pytest

from kdsweep.tracking.mlflow.addresses import fault_of, without_login

SPACES = "an address has no spaces; one in a password is written as %20"
UNQUOTED = "/, ? and # in its user or password are written as %2F, %3F and %23"


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://local host", SPACES),
        ("http://bob:p w@host", SPACES),
        ("http://bob:p/w@host", UNQUOTED),
        ("http://bob:p?w@host:5000", UNQUOTED),
        ("http://bob:p#w@host/path", UNQUOTED),
        ("http://corp/bob:pw@host", UNQUOTED),
        ("http://", "it names no host"),
        ("http:///path", "it names no host"),
        ("https:host", "it names no host"),
        ("http://host:abc", "a port is a number from 1 to 65535"),
        ("http://host:99999", "a port is a number from 1 to 65535"),
        ("http://host:0", "a port is a number from 1 to 65535"),
        ("http://[::1", "it is no IPv6 address"),
    ],
)
def test_an_address_that_cannot_be_right(address: str, fault: str) -> None:
    assert fault_of(address) == fault


@pytest.mark.parametrize(
    "address",
    [
        "http://host",
        "https://host:5000/path",
        "http://bob:pw@host",
        "http://bob@host:5000",
        "http://bob:p%2Fw@host",
        "http://bob@corp.org:pw@host",
        "http://host:5000/team@corp",
        "http://[::1]:5000",
        "http://bob:***@host",
    ],
)
def test_other_addresses_pass(address: str) -> None:
    assert fault_of(address) is None


def test_a_password_is_masked_wherever_urllib_splits_it() -> None:
    assert without_login("http://bob:p/w@host:5000") == "http://***@host:5000"
