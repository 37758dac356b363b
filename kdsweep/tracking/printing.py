"""Lines on the terminal or in a log: printed as they are, or taken from loggers."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TEXT_WIDTH = 16  # columns that a text in a table has at least, if it is as long


def print_line(console: "Console", text: str, style: str | None = None) -> None:
    """Print text as it is: a path or an address in it is neither wrapped nor cut nor changed."""
    console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_table(console: "Console", table: "Table") -> None:
    """Print a table of texts with markup; it gets wider than the console rather than unreadable.

    Numbers are whole, paths are neither wrapped nor cut, other texts have `TEXT_WIDTH`.
    """
    least = 1  # what borders and padding take, with those of each column
    for column in table.columns:
        cells = [_plain(cell) for cell in (column.header, *column.cells)]
        widest = max(map(len, cells))
        needed = widest if column.no_wrap else min(widest, TEXT_WIDTH)
        paths = [word for cell in cells[1:] for word in _words(cell) if "/" in word]
        column.min_width = max([column.min_width or 0, needed, *map(len, paths)])
        least += column.min_width + 3
    if least > console.width:  # else rich would leave columns out
        table.width = least
    console.print(table, crop=False)


def _words(cell: str) -> list[str]:
    """The words of a text; one in quotation marks, as JSON has it, is a single one."""
    return [cell] if cell.startswith('"') else cell.split()


def _plain(cell: object) -> str:
    from rich.text import Text

    return Text.from_markup(str(cell)).plain


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
