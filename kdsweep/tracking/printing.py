"""Lines on the terminal or in a log: printed as they are, or taken from loggers."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_line(console: "Console", text: str, style: str | None = None) -> None:
    """Print text as it is: a path or an address in it is neither wrapped nor cut nor changed."""
    console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_table(console: "Console", table: "Table") -> None:
    """Print a table of texts with markup; one too narrow for a path in it gets wider instead."""
    from rich.text import Text

    for column in table.columns:
        words = [
            word for cell in column.cells for word in Text.from_markup(str(cell)).plain.split()
        ]
        column.min_width = max(
            [column.min_width or 0, *(len(word) for word in words if "/" in word)]
        )
    console.print(table, crop=False)


@contextmanager
def printed(
    logger: logging.Logger, level: int, print_message: Callable[[str], None]
) -> Iterator[None]:
    """Inside, messages of a logger and of those below are printed by the given function.

    Hydra's own handler would print them, to stdout, across the bars.
    """
    handler = _Messages(level, print_message)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


class _Messages(logging.Handler):
    def __init__(self, level: int, print_message: Callable[[str], None]) -> None:
        super().__init__(level)
        self._print_message = print_message

    def emit(self, record: logging.LogRecord) -> None:
        self._print_message(record.getMessage())
