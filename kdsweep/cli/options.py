"""Options and errors that the commands of `kdsweep` share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from kdsweep.common.passwords import redact_text
from kdsweep.errors import RunFailed, UserError

NAMED_RUN = (
    "a run's folder, its MLflow id, which may be shortened, its fingerprint or its name;"
    " SWEEP/best, or best of the latest sweep"
)
NAMED_MODEL = f"{NAMED_RUN}; models:/NAME@ALIAS; a model.safetensors with its classifier.json"

Uri = Annotated[str | None, typer.Option(help="MLflow store, e.g. sqlite:///mlflow.db")]
Experiment = Annotated[str | None, typer.Option(help="name of the experiment")]


def refuse_unwritable(option: str, folder: Path) -> None:
    """Raise UserError, before anything is computed, if no file can be written to a folder."""
    from kdsweep.common.files import can_be_made

    if not can_be_made(folder):
        raise UserError(f"{option} must be in a folder that can be written to, got {folder}")


@contextmanager
def user_errors() -> Iterator[None]:
    """Print the message of what the user can correct, and exit with code 1."""
    try:
        yield
    except (UserError, RunFailed) as error:
        typer.echo(redact_text(str(error)), err=True)
        raise typer.Exit(1) from error
    except Exception as error:  # an unreachable store, a full disk or a defect
        from kdsweep.tracking.disk import REPEAT, disk_full, full_folder, is_full
        from kdsweep.tracking.mlflow.backend import describe_store_error

        if (reason := describe_store_error(error)) is not None:
            message = f"the MLflow store does not work: {reason}; try again later"
        elif is_full(error):
            message = str(disk_full(full_folder(error, Path.cwd()), REPEAT))
        else:
            raise
        typer.echo(message, err=True)
        raise typer.Exit(1) from error
