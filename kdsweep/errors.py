"""The errors of a sweep: the user's request cannot be met, or a run has failed."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException


class UserError(CompactHydraException):
    """Something the user can correct; the message names the key, the value and what is allowed.

    Hydra prints a ``CompactHydraException`` without its traceback and exits with code 1;
    ``HYDRA_FULL_ERROR=1`` (which ``debug=true`` sets) shows the traceback.
    """


@contextmanager
def prefix_errors(key: str) -> Iterator[None]:
    """Put the config key of a recipe in front of the messages of its errors."""
    try:
        yield
    except UserError as error:
        raise UserError("\n".join(f"{key}.{line}" for line in str(error).splitlines())) from error


class CollectedErrors:
    """The errors of checks that do not depend on each other, which are reported together."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def of(self, kind: type[Exception] = UserError) -> Iterator[None]:
        """Keep the messages of the errors of a kind that a check raises inside."""
        try:
            yield
        except kind as error:
            self.messages += str(error).splitlines()

    def raise_if_any(self) -> None:
        """Raise UserError with all messages, each once and on a line of its own."""
        if self.messages:
            raise UserError("\n".join(dict.fromkeys(self.messages)))


class RunFailed(CompactHydraException):
    """A run ended without a result, e.g. because its loss became infinite."""
