"""The console script `kdsweep` and its commands."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from kdsweep.cli import cache, check, deploy_commands, predict, ship, work_commands
from kdsweep.cli.options import NAMED_RUN, Experiment, Uri, user_errors
from kdsweep.cli.train import main
from kdsweep.config.allow import allow as allow_only
from kdsweep.errors import UserError
from kdsweep.interop.repositories import REPOSITORIES, translate

DIFFERS = 3  # exit code of a rerun that is not the same; 1 and 2 are of errors
ANY_WORDS = {"allow_extra_args": True, "ignore_unknown_options": True}  # Hydra parses them

OF_WORDS = ("train", "estimate", "plan", "check")  # commands that take Hydra's words
app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def allow_modules(
    context: typer.Context,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="a module with parts of yours that a loaded run may name, mynet"),
    ] = None,
) -> None:
    """Knowledge distillation sweeps, trained in lockstep, tracked in MLflow."""
    with user_errors():
        if allow and context.invoked_subcommand in OF_WORDS:
            word = f"allow=[{','.join(allow)}]"
            raise UserError(f"--allow must be written {word} after {context.invoked_subcommand}")
        allow_only(allow or (), "--allow")


@app.command("train", context_settings=ANY_WORDS, add_help_option=False)
def train_command(context: typer.Context) -> None:
    """Train a run, a grid (-m T=1,4,16) or a search (search=bayes): `kdsweep train --help`."""
    sys.argv = ["kdsweep train", *context.args]
    main()


@app.command("plan", context_settings=ANY_WORDS, add_help_option=False, hidden=True)  # alias
@app.command("estimate", context_settings=ANY_WORDS, add_help_option=False)
def estimate_command(context: typer.Context) -> None:
    """Estimate a sweep's time, disk space and missing teachers without training.

    It takes the overrides of `kdsweep train`; a few steps of each kind of run are timed.
    """
    sys.argv = [f"kdsweep {context.info_name}", *context.args, "dry_run=true"]
    main()


app.command("check", context_settings=ANY_WORDS)(check.check)


@app.command()
def sync(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="of a sweep, of a run or of a teacher")
    ],
    uri: Uri = None,
    experiment: Experiment = None,
    artifacts: Annotated[
        str | None, typer.Option(help="where a new experiment keeps its files")
    ] = None,
) -> None:
    """Upload what MLflow lacks of each FOLDER: after an outage, after tracking=none.

    Options that are not given are as the run was configured; teachers that were trained without
    MLflow are uploaded to the store of the first sweep among the folders.
    """
    from kdsweep.sweeps.mlflow_sync import Target, sync_folder
    from kdsweep.tracking.metadata import SWEEP

    sweep = next((folder for folder in folders if (folder / SWEEP).is_file()), None)
    for folder in folders:
        with user_errors():
            typer.echo(sync_folder(folder, Target(uri, experiment, artifacts, sweep)))


@app.command()
def report(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SWEEP]...",
            help="a sweep's folder, its name under multirun/, the id of its run in MLflow, or a"
            " filter like \"params.loss = 'kl'\"; several are reported as one; without any, the"
            " latest sweep",
        ),
    ] = None,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Write the report of a sweep: report.html, report.md, table.tex, results.csv, and MLflow."""
    from rich.console import Console

    from kdsweep.report.files import show, write_report
    from kdsweep.report.mlflow_publish import publish_if_possible
    from kdsweep.report.sources.address import Address
    from kdsweep.report.sources.lookup import find
    from kdsweep.tracking.printing import print_line
    from kdsweep.tracking.results_table import REPORT

    with user_errors():
        source = find(sweeps or [], Address(uri, experiment))
        sweep_report = write_report(source.collection)
    console = Console()
    show(sweep_report.grid, sweep_report.conclusions, console)
    print_line(console, f"report   {source.collection.folder / REPORT}")
    if (reason := publish_if_possible(sweep_report, source)) is not None:
        print_line(console, reason)


@app.command()
def ui(
    sweep: Annotated[
        str | None,
        typer.Argument(
            help="a sweep's folder, its name under multirun/ or the id of its run in MLflow; by"
            " default the latest sweep"
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="by default a free one")] = None,
) -> None:
    """Browse a sweep: MLflow's UI on the store that it used, and the address of its page."""
    from kdsweep.tracking.find_sweep import find_sweep, latest_sweep
    from kdsweep.tracking.metadata import read_sweep_metadata
    from kdsweep.tracking.mlflow.pages import is_server, page_of_sweep, serve

    with user_errors():
        folder = latest_sweep() if sweep is None else find_sweep(sweep) or Path(sweep)
        note = read_sweep_metadata(folder)
        if note is None or note["tracking_uri"] is None:
            raise UserError(f"SWEEP must be the folder of a sweep in MLflow, got {folder}")
    uri = note["tracking_uri"]

    def show(address: str) -> None:
        typer.echo(f"{folder}: {address.rstrip('/')}/{page_of_sweep(note)}")

    if is_server(uri):
        show(uri)
    elif code := serve(uri, port, show):
        raise typer.Exit(code)


@app.command()
def leaderboard(
    uri: Uri = None,
    experiment: Experiment = None,
    limit: Annotated[int, typer.Option(min=1, help="most cells of a data set")] = 20,
) -> None:
    """Print the best cells of all sweeps of an experiment, by validation."""
    from rich.console import Console

    from kdsweep.report.leaderboard import leaderboards, show
    from kdsweep.report.sources.address import Address

    with user_errors():
        boards = leaderboards(Address(uri, experiment).open())
    show(boards, limit, Console())


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help=NAMED_RUN)],
    second: Annotated[str, typer.Argument(metavar="RUN", help="the other")],
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Print how two runs differ, and whether one is better on the same test images (McNemar)."""
    from rich.console import Console

    from kdsweep.report.compare import compare_runs, find_run, show
    from kdsweep.report.sources.address import Address

    address = Address(uri, experiment)
    with user_errors():
        address.refuse_absent()
        comparison = compare_runs(find_run(first, address), find_run(second, address))
    show(comparison, Console())


@app.command()
def rerun(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help=NAMED_RUN),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="new folder of the run; by default outputs/DATE/TIME"),
    ] = None,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Train a run again, and print whether it is the same, bit for bit, or by how much it differs.

    What has changed since is printed first: config, data, versions, machine.
    Nothing is logged to MLflow. The exit code is 0 if the run is the same, else 3.
    """
    from rich.console import Console

    from kdsweep.report.sources.address import Address
    from kdsweep.sweeps.rerun.rerun import rerun as train_again

    address = Address(uri, experiment)
    with user_errors():
        address.refuse_absent()
        is_same = train_again(run, address.open, folder, Console())
    if not is_same:
        raise typer.Exit(DIFFERS)


@app.command("weights", context_settings=ANY_WORDS, hidden=True)  # alias
@app.command("convert-weights", context_settings=ANY_WORDS)
def convert_weights(
    context: typer.Context,
    source: Annotated[str, typer.Option("--from", help=" | ".join(REPOSITORIES))],
) -> None:
    """Convert a command line of another repository to overrides for train.py.

    Its options follow as it names them, alpha=0.9 or --alpha 0.9; the others have its defaults:
    kdsweep convert-weights --from torchdistill alpha=0.9 temperature=4. The program may precede
    them: kdsweep convert-weights --from repdistiller python train_student.py ...
    """
    with user_errors():
        translation = translate(source, context.args)
    typer.echo(shlex.join(translation.words))
    for note in translation.notes:
        typer.echo(f"# {note}")


app.command()(work_commands.work)
app.command()(work_commands.attach)
app.command()(work_commands.status)
# After the commands of a sweep, those of a trained network.
app.command()(predict.predict)
app.command()(deploy_commands.export)
app.command()(deploy_commands.quantize)
app.command()(deploy_commands.bench)
app.command()(ship.promote)
app.command()(ship.push)
app.command()(ship.demo)
app.add_typer(cache.app, name="cache")
