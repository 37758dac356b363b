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
def prefix_errors(key: str, *, trains: str = "student") -> Iterator[None]:
    """Put the config key of a recipe in front of the messages of its errors.

    ``trains``: the key of the network that the recipe trains, which its messages call the student.
    """
    try:
        yield
    except UserError as error:
        lines = str(error).splitlines()
        raise UserError("\n".join(_of_recipe(line, key, trains) for line in lines)) from error


def _of_recipe(line: str, key: str, trains: str) -> str:
    """A message about a recipe, with the keys that the whole config has for the same."""
    if trains == "student":
        return f"{key}.{line}"
    if line.startswith("student."):
        return f"{trains}.{line.removeprefix('student.')}"
    return f"{key}.{line.replace(' student.model', f' {trains}.model')}"


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
