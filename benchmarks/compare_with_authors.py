"""Every loss next to its authors' code: the table of docs/losses.md.

    python benchmarks/compare_with_authors.py CHECKOUTS              # prints the table
    python benchmarks/compare_with_authors.py CHECKOUTS kl nkd       # of some losses
    python benchmarks/compare_with_authors.py CHECKOUTS --write      # into docs/losses.md

CHECKOUTS holds a clone of each repository of benchmarks/authors/repositories.py, with its name. A
missing one is reported, and its rows are left out. The exit code is 1 if a row is missing or
differs by more than 1e-12 in float64.

To add a row, write a function under `@compares("loss", REPOSITORY, "path/in/it.py")` in a file of
benchmarks/authors: it gets the loaded file and yields a `Case`, our term, their function, inputs.
"""

import argparse
import sys
from pathlib import Path

from authors import (  # noqa: F401  they add their rows
    on_classifiers,
    on_embeddings,
    on_levels,
    on_logits,
    on_maps,
    on_own_heads,
)
from authors.comparison import ROWS, Row, errors_of
from authors.report import Compared, table, write

BOUND = 1e-12


def main(words: list[str] | None = None) -> int:
    """Compare the losses that are named, or all; returns the exit code."""
    losses = list(dict.fromkeys(row.loss for row in rows_of([])))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("losses", nargs="*", metavar="loss", help=", ".join(losses))
    parser.add_argument("--write", action="store_true", help="the table into docs/losses.md")
    options = parser.parse_args(words)
    if unknown := sorted(set(options.losses) - set(losses)):
        parser.error(f"loss must be one of {', '.join(losses)}, got {', '.join(unknown)}")
    if options.write and options.losses:
        parser.error("--write must be given without losses: the table has all of them")
    rows = rows_of(options.losses)
    compared = [
        comparison for row in rows if (comparison := compare(row, options.checkouts)) is not None
    ]
    print(table(compared))
    differ = [comparison.row for comparison in compared if max(comparison.double) > BOUND]
    for row in differ:
        print(f"{row.loss} differs from {name(row)} by more than {BOUND:.0e}", file=sys.stderr)
    complete = len(compared) == len(rows)
    if options.write and complete:
        write(table(compared))
    return int(bool(differ) or not complete)


def rows_of(losses: list[str]) -> list[Row]:
    """The rows of these losses, or all, by loss."""
    rows = [row for row in ROWS if not losses or row.loss in losses]
    return sorted(rows, key=lambda row: row.loss)


def compare(row: Row, checkouts: Path) -> Compared | None:
    try:
        return Compared(row, *errors_of(row, checkouts))
    except FileNotFoundError as error:
        print(f"{row.loss}: {error}", file=sys.stderr)
        return None


def name(row: Row) -> str:
    return row.repository.name if row.repository is not None else "PyTorch"


if __name__ == "__main__":
    sys.exit(main())
