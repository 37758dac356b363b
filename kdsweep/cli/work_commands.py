"""`kdsweep work`, `status` and `attach`: a unit of a sweep, how far all are, and their end."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from kdsweep.cli.options import user_errors
from kdsweep.cli.train import main
from kdsweep.common.garbage import kept_for_good
from kdsweep.errors import UserError

PARKED = os.EX_TEMPFAIL if hasattr(os, "EX_TEMPFAIL") else 75  # exit code: start it again

Sweep = Annotated[Path, typer.Argument(metavar="FOLDER", help="of a sweep")]


def work(
    folder: Sweep,
    number: Annotated[
        str,
        typer.Argument(metavar="N", help="of the unit, as in work/N.json; -: read from stdin"),
    ],
) -> None:
    """Train one work unit of a sweep in this process, as a worker does.

    The sweep is one that was started with workers. Nothing is logged to MLflow: that is for the
    process that has started it, or `kdsweep sync FOLDER`. The exit code is 0 if the unit is done,
    75 if it was stopped by SIGTERM and can be resumed by the same command, else 1.
    """
    with user_errors():
        if number != "-" and not number.isdecimal():
            raise UserError(f"N must be the number of a work unit, got {number}")
        with kept_for_good():
            import torch._dynamo  # noqa: F401  (every optimizer of torch does when it is made)

            from kdsweep.work.attempt import FAILED
            from kdsweep.work.attempt import PARKED as STOPPED
            from kdsweep.work.serving import own_output, serve
            from kdsweep.work.stopping import grace_seconds
            from kdsweep.work.time_limit import TimeLimit, epochs_trained
            from kdsweep.work.worker import Worker

        output = own_output() if number == "-" else None
        worker = Worker(folder)
        signal.signal(signal.SIGTERM, lambda *_: worker.stopping.request(grace_seconds()))
        if output is not None:
            serve(worker, typer.get_text_stream("stdin"), output)
            return
        limit = TimeLimit(worker.stopping, lambda: epochs_trained(worker.folder, int(number)))
        state, reason = worker.run(int(number))
        if state == FAILED:
            raise UserError(str(reason))
    if state == STOPPED:
        limit.requeue()
        raise typer.Exit(PARKED)
    typer.echo(f"work unit {number}: {state}")


def attach(folder: Sweep) -> None:
    """Continue a sweep or a search with the command that began it: jobs, uploads and its end.

    Jobs that are in a queue, or train, are left to do so; what has no job is submitted.
    """
    from kdsweep.sweeps.attach import words_of

    with user_errors():
        words = words_of(folder.absolute())
    sys.argv = ["kdsweep attach", *words]
    main()


def status(folder: Sweep) -> None:
    """Print how far a sweep is, from its files: what is running, queued, done and failed, and ETA.

    It may be trained by another process or on another host.
    """
    from rich.console import Console

    from kdsweep.work.status import show_status

    with user_errors():
        show_status(folder, Console())
