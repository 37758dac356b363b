"""What the checks have found, on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdsweep.common.text import counted
from kdsweep.sweep.check.contract import Check
from kdsweep.tracking.printing import print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console


def show(found: Sequence[Check], console: "Console") -> None:
    """Print a table with a line for each check, and the number of those that fail."""
    from rich.markup import escape
    from rich.table import Column, Table

    headers = ("part", "check", "result")
    table = Table(*(Column(header, overflow="fold") for header in headers))
    before = ""
    for check in found:
        part = f"{check.key}\\n{check.target}" if check.key != before else ""
        before = check.key
        result = "passes" if check.fault is None else f"[red]fails[/red]: {escape(check.fault)}"
        table.add_row(escape(part), check.name, result)
    print_table(console, table)
    failed = sum(check.fault is not None for check in found)
    print_line(
        console, f"{counted(failed, 'check')} of {len(found)} failed" if failed else "passed"
    )
