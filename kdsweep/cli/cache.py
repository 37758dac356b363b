"""`kdsweep cache`: lists and empties the disk cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from kdsweep.common.disk_cache import Entry

Folder = Annotated[Path, typer.Option(help="cache.folder of the sweeps")]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def show(context: typer.Context, folder: Folder = Path("cache")) -> None:
    """List what sweeps keep on disk for later ones; `kdsweep cache clear` removes it."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from kdsweep.common.disk_cache import DiskCache
    from kdsweep.tracking.printing import print_line, print_table

    console, entries = Console(), DiskCache(folder, gib=1).entries()
    if entries:
        print_table(console, cache_table(entries))
    else:
        print_line(console, f"{folder} is empty")


@app.command()
def clear(
    folder: Folder = Path("cache"),
    kind: Annotated[str | None, typer.Option(help="remove entries of this kind alone")] = None,
) -> None:
    """Remove what is kept; later sweeps compute it again. Running ones are not disturbed."""
    from rich.filesize import decimal

    from kdsweep.common.disk_cache import DiskCache

    cache = DiskCache(folder, gib=1)
    kinds = sorted({entry.kind for entry in cache.entries()})
    if kind is not None and kinds and kind not in kinds:
        typer.echo(f"--kind must be {' | '.join(kinds)}, got {kind}", err=True)
        raise typer.Exit(1)
    removed = cache.clear(kind)
    size = decimal(sum(entry.num_bytes for entry in removed))
    plural = "y" if len(removed) == 1 else "ies"
    typer.echo(f"removed {len(removed)} entr{plural}, {size}, from {folder}")


def cache_table(entries: Sequence["Entry"]) -> "Table":
    """A row for the entries of a kind with the same description, what was used last at the end."""
    from datetime import datetime

    from rich import box
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    table = Table("kind", "description", box=box.SIMPLE_HEAD, show_footer=True)
    total = decimal(sum(entry.num_bytes for entry in entries))
    table.add_column("entries", footer=str(len(entries)), justify="right", no_wrap=True)
    table.add_column("size", footer=total, justify="right", no_wrap=True)
    table.add_column("last used", no_wrap=True)
    alike: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: one.last_used, reverse=True):
        alike.setdefault((entry.kind, entry.description), []).append(entry)
    for (kind, description), group in reversed(alike.items()):
        used = datetime.fromtimestamp(group[0].last_used)
        size = decimal(sum(entry.num_bytes for entry in group))
        name = escape(description or "damaged")
        table.add_row(escape(kind), name, str(len(group)), size, f"{used:%Y-%m-%d %H:%M}")
    return table
