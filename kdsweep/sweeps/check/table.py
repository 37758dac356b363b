"""What the checks have found, on the terminal."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from kdsweep.common.text import counted
from kdsweep.sweeps.check.contract import Check
from kdsweep.tracking.printing import print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console


def show(all_checks: Sequence[Check], console: "Console") -> None:
    """Print a table with a row for each part, and the number of checks that fail."""
    from rich.markup import escape
    from rich.table import Column, Table

    headers = ("part", "passes", "fails")
    table = Table(*(Column(header, overflow="fold") for header in headers), show_lines=True)
    for (key, target), group in groupby(all_checks, lambda check: (check.key, check.target)):
        checks = list(group)
        passed = ", ".join(check.name for check in checks if check.fault is None)
        faults = "\n".join(f"{c.name}: {c.fault}" for c in checks if c.fault is not None)
        table.add_row(*map(escape, (f"{key}\n{target}", passed, faults)))
    print_table(console, table)
    failed = sum(check.fault is not None for check in all_checks)
    counts = counted(len(all_checks) - failed, "check")
    print_line(console, f"{counts} passed, {failed} failed")
