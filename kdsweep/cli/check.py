"""`kdsweep check student=... loss=...`: whether parts keep the contracts of training."""

import typer

from kdsweep.cli.options import user_errors


def check(context: typer.Context) -> None:
    """Check the parts of a run: network, loss terms, data set, optimizer, schedule, augmentations.

    It takes the overrides of kdsweep train, of a single run. Nothing is trained or written. The
    exit code is 1 if a check fails.
    """
    from rich.console import Console

    from kdsweep.cli.train import prepare
    from kdsweep.sweeps.check.parts import check_words
    from kdsweep.sweeps.check.table import show

    prepare()
    with user_errors():
        checks = check_words(context.args)
    show(checks, Console())
    if any(one.fault is not None for one in checks):
        raise typer.Exit(1)
