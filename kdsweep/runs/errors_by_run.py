"""The errors of the runs of a sweep, each reported once, with the runs it is in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kdsweep.errors import UserError


class ErrorsByRun:
    """Collects errors over the runs of a sweep; equal ones are reported once, with their runs."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._origins: dict[str, list[str]] = {}

    @contextmanager
    def of(self, number: int, swept: Sequence[str]) -> Iterator[None]:
        """Collect the UserError of a run, a message a line."""
        try:
            yield
        except UserError as error:
            origin = f"run {number}: {' '.join(swept)}" if swept else f"run {number}"
            for message in str(error).splitlines():
                self._origins.setdefault(message, []).append(origin)

    def raise_if_any(self) -> None:
        """Raise UserError with all messages; the runs are named unless all are concerned."""
        lines = []
        for message, origins in self._origins.items():
            more = f" and {len(origins) - 3} more" if len(origins) > 3 else ""
            where = f" ({'; '.join(origins[:3])}{more})" if len(origins) < self._runs else ""
            lines.append(message + where)
        if lines:
            raise UserError("\n".join(lines))
