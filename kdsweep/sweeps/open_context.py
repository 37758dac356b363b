"""Opens a sweep's training context; an MLflow that is away stops no sweep that has been in it."""

import shlex
from pathlib import Path
from typing import Any

from kdsweep.config.schema import CacheConfig
from kdsweep.errors import UserError
from kdsweep.execution.context import NO_CACHE, TrainingContext
from kdsweep.tracking.console import Progress
from kdsweep.tracking.metadata import has_been_in_mlflow, read_sweep_metadata
from kdsweep.tracking.mlflow.backend import StoreError


def open_context(
    tracking: dict[str, Any],
    progress: Progress,
    sweep: Path | None,
    cache: CacheConfig = NO_CACHE,
) -> TrainingContext:
    """A context for a sweep, without a store if that does not work and the sweep is resumed.

    A store that is not there yet is made by `TrainingContext.open_store`, once nothing is refused.
    ``tracking`` and ``cache`` are these nodes of its runs, ``sweep`` its folder, None if it is
    known to be new.
    Raises UserError if the store does not work and the sweep has never been in MLflow, or if a
    value of `tracking` is not allowed.
    """
    try:
        return TrainingContext(tracking, progress, cache, makes_store=False)
    except UserError as error:
        if not isinstance(error.__cause__, StoreError):
            raise
        if sweep is None or not has_been_in_mlflow(read_sweep_metadata(sweep)):
            raise
        command = shlex.join(["kdsweep", "sync", str(sweep)])
        progress.note(f"{error}; the sweep is resumed without it, `{command}` uploads it later")
    context = TrainingContext({**tracking, "uri": None}, progress, cache)
    context.lacks_store = True
    return context


def show_destination(context: TrainingContext) -> None:
    """Print where runs are logged, once nothing is refused any more."""
    if context.store is not None:
        where = f"{context.store.uri}, experiment {context.options.experiment}"
    else:
        where = "their folders only" + ("" if context.lacks_store else " (tracking.uri=null)")
    context.progress.note(f"runs are logged to {where}")
