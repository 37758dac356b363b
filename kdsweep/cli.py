"""The door: Hydra's `main` for training, and the console script `kdsweep`."""

import os
import shlex
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from types import TracebackType
from typing import Annotated

import hydra
import typer
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from omegaconf import DictConfig

from kdsweep.common.passwords import redact_argument, redact_text
from kdsweep.config.limits import refuse_keys_of_some_options
from kdsweep.config.register import register
from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.errors import UserError
from kdsweep.interop.repositories import REPOSITORIES, translate

PACKAGE = Path(__file__).parent
# conf/ is shipped inside the wheel; in a source checkout it stands at the top.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())

GROUPS = (
    "dataset",
    "teacher",
    "student",
    "loss",
    "optimizer",
    "schedule",
    "trainer",
    "tracking",
)

# Signals that end a sweep in an orderly way. Windows has no SIGHUP.
ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

register()


@hydra.main(
    config_path=str(CONF),
    config_name="train",
    execution_whitelist=EXECUTION_WHITELIST,
)
def train(cfg: DictConfig) -> float:
    """One job under a stock launcher (basic, joblib, ...). The lockstep launcher never calls it."""
    from kdsweep.sweep.single_job import train_one
    from kdsweep.tracking.disk import one_sentence

    if cfg.debug:
        os.environ["HYDRA_FULL_ERROR"] = "1"
    with one_sentence(Path(str(HydraConfig.get().runtime.output_dir))):
        return train_one(cfg, HydraConfig.get())


def main() -> None:
    """What train.py and `kdsweep train` run."""
    sys.excepthook = _say
    signal.signal(signal.SIGTERM, _terminate)
    sys.argv[1:] = [redact_argument(word) for word in sys.argv[1:]]
    # Of a terminal that closes, as at the end of an ssh session; nohup has it ignored.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)
    _refuse_empty_groups(sys.argv[1:])
    _refuse_keys_of_some_options(sys.argv[1:])
    if "${" in os.getcwd():
        sys.exit(
            f"the current folder must have no ${{ in its path, got {os.getcwd()}: Hydra reads it"
        )
    try:
        train()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command with resume=true goes on\n")
        sys.exit(130)


def _refuse_empty_groups(words: list[str]) -> None:
    """Hydra answers `loss=null` with a traceback that says nothing of the loss."""
    for word in words:
        group, _, option = word.partition("=")
        if group in GROUPS and option == "null":
            options = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
            sys.exit(f"{group} must name at least one option of {', '.join(options)}, got null")


def _refuse_keys_of_some_options(words: list[str]) -> None:
    """Hydra's own message for these does not name the option that lacks the key."""
    if any(word.startswith(("--", "-c", "search=", "hydra/sweeper")) for word in words):
        return  # other folders of configs, or keys that a search needs where they are
    try:
        refuse_keys_of_some_options([word for word in words if "=" in word], _composes)
    except UserError as error:
        sys.exit(str(error))


def _composes(words: Sequence[str]) -> bool:
    with hydra.initialize_config_dir(str(CONF)):
        try:
            hydra.compose("train", list(words))
        except HydraException:
            return False
    return True


def _terminate(number: int, frame: object) -> None:
    """End open runs as KILLED; a scheduler or a shell may send a signal again meanwhile."""
    for again in ENDINGS:
        signal.signal(again, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _hang_up(number: int, frame: object) -> None:
    """As SIGTERM; nothing more is written to the terminal or pipe, which are gone by now."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        try:
            is_file = stat.S_ISREG(os.fstat(output).st_mode)
        except OSError:
            is_file = False
        if not is_file:
            os.dup2(nowhere, output)
    os.close(nowhere)
    _terminate(number, frame)


def _say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """A sentence for what the user can put right, a traceback for everything else."""
    if isinstance(error, CompactHydraException) and os.environ.get("HYDRA_FULL_ERROR") != "1":
        sys.stderr.write(redact_text(f"{error}\n"))
    else:
        sys.stderr.write(redact_text("".join(format_exception(kind, error, traceback))))


app = typer.Typer(
    help="Knowledge distillation sweeps, trained in lockstep, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _root() -> None:
    """Keep `train` a sub-command while it is one of few."""


@app.command(
    "train",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def train_command(context: typer.Context) -> None:
    """Train a run, a grid (-m T=1,4,16) or a search (search=bayes): `kdsweep train --help`."""
    sys.argv = ["kdsweep train", *context.args]
    main()


@app.command(
    "plan",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def plan_command(context: typer.Context) -> None:
    """Say what a sweep would take, time, disk and teachers, and train nothing.

    The words are those of `kdsweep train`; a few steps of each kind of run are timed.
    """
    sys.argv = ["kdsweep plan", *context.args, "dry_run=true"]
    main()


Uri = Annotated[str | None, typer.Option(help="MLflow store, e.g. sqlite:///mlflow.db")]
Experiment = Annotated[str | None, typer.Option(help="name of the experiment")]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """What the user can put right ends the command with a sentence and exit code 1."""
    try:
        yield
    except UserError as error:
        typer.echo(redact_text(str(error)), err=True)
        raise typer.Exit(1) from error
    except Exception as error:
        if (sentence := _explanation(error)) is None:
            raise
        typer.echo(sentence, err=True)
        raise typer.Exit(1) from error


def _explanation(error: Exception) -> str | None:
    """What a command could not do for a store that is away, or a disk that is full."""
    from kdsweep.tracking.disk import REPEAT, disk_full, full_folder, is_full
    from kdsweep.tracking.mlflow.backend import trouble

    if (reason := trouble(error)) is not None:
        return f"the MLflow store does not work: {reason}; try again later"
    return str(disk_full(full_folder(error, Path.cwd()), REPEAT)) if is_full(error) else None


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
    """Make MLflow agree with each FOLDER: after an outage, after tracking=none.

    What is not given is as the run was configured.
    """
    from kdsweep.sweep.mlflow_sync import Target, sync_folder

    for folder in folders:
        with _one_sentence():
            typer.echo(sync_folder(folder, Target(uri, experiment, artifacts)))


@app.command()
def report(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SWEEP]...",
            help="a sweep's folder, its name under multirun/, the id of its run in MLflow, or a"
            " filter like \"params.loss = 'kl'\"; several are told of as one; without any, the"
            " latest sweep",
        ),
    ] = None,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Say what a sweep has shown: report.html, report.md, table.tex, results.csv, and in MLflow."""
    from rich.console import Console

    from kdsweep.report.files import PAGE, show, write_report
    from kdsweep.report.mlflow_publish import publish_if_possible
    from kdsweep.report.sources.lookup import Address, find

    with _one_sentence():
        source = find(sweeps or [], Address(uri, experiment))
        found = write_report(source.evidence)
    console = Console()
    show(found.grid, found.answer, console)
    console.print(f"report   {source.evidence.home / PAGE}", soft_wrap=True, markup=False)
    if (reason := publish_if_possible(found, source)) is not None:
        console.print(reason, soft_wrap=True, markup=False)


@app.command()
def leaderboard(
    uri: Uri = None,
    experiment: Experiment = None,
    limit: Annotated[int, typer.Option(min=1, help="most cells of a data set")] = 20,
) -> None:
    """Print the best cells of all sweeps of an experiment, by validation."""
    from rich.console import Console

    from kdsweep.report.leaderboard import boards, show
    from kdsweep.report.sources.lookup import Address

    with _one_sentence():
        found = boards(Address(uri, experiment).open())
    show(found, limit, Console())


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, or its MLflow id")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="the other; ids may be shortened")],
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Say what two runs differ in, and whether one is better on the same test images (McNemar)."""
    from rich.console import Console

    from kdsweep.report.compare import compare_runs, find_run, show
    from kdsweep.report.sources.lookup import Address

    address = Address(uri, experiment)
    with _one_sentence():
        address.refuse_absent()
        found = compare_runs(find_run(first, address), find_run(second, address))
    show(found, Console())


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def weights(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Option("--from", help=" | ".join(REPOSITORIES)),
    ],
) -> None:
    """Say another repository's weights and temperature in overrides for train.py.

    Its options follow as it names them, alpha=0.9 or --alpha 0.9; those not given are as there:
    kdsweep weights --from torchdistill alpha=0.9 temperature=4
    """
    try:
        found = translate(source, context.args)
    except UserError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(shlex.join(found.words))
    for note in found.notes:
        typer.echo(f"# {note}")
