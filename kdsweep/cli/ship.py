"""`kdsweep promote`, `push` and `demo`: a trained model for others."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from kdsweep.cli.options import NAMED_MODEL, Experiment, Uri, refuse_unwritable, user_errors


def promote(
    source: Annotated[str, typer.Argument(help=NAMED_MODEL)],
    name: Annotated[str, typer.Option(help="of the model in the registry")],
    alias: Annotated[
        str | None, typer.Option(help="that the model gets and another version loses")
    ] = None,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Register a model in MLflow under a name, with a model card as its description.

    Repeating it changes nothing: a model has one version under a name, and the alias moves.
    """
    from kdsweep.common.passwords import redact_password
    from kdsweep.deploy.registry import promote as register
    from kdsweep.report.sources.address import Address

    with user_errors():
        registered = register(source, name, alias, Address(uri, experiment))
    has = "is new" if registered.is_new else "was there already"
    typer.echo(f"{registered.address}: version {registered.version} {has}, of run {registered.run}")
    words = ["mlflow", "models", "serve", "-m", registered.address, "--env-manager", "local"]
    store = shlex.quote(f"MLFLOW_TRACKING_URI={redact_password(registered.uri)}")
    typer.echo(f"serve it: {store} {shlex.join(words)}")


def push(
    source: Annotated[str, typer.Argument(help=NAMED_MODEL)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="of the repository, new or not")],
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Write a model to a folder as a repository of the Hugging Face Hub, with a model card.

    `Classifier.from_pretrained` loads it from there. Nothing is uploaded; `hf upload` does that.
    """
    from kdsweep.deploy.sources import load

    with user_errors():
        _require("huggingface_hub", "hub")
        from kdsweep.deploy.hub import push as write

        refuse_unwritable("DIR", folder.parent)
        write(load(source, uri=uri, experiment=experiment), folder)
    typer.echo(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    typer.echo(f"upload it: {shlex.join(['hf', 'upload', 'USER/NAME', str(folder)])}")


def demo(
    source: Annotated[str, typer.Argument(help=NAMED_MODEL)],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="by default a free one")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "cpu",
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Open a page on 127.0.0.1 to try a model: drop an image, compare it with its teacher.

    A temperature slider shows how the teacher ranks the other classes. A model whose teacher is not
    available is shown alone. Nothing leaves this machine.
    """
    from kdsweep.deploy.sources import load
    from kdsweep.deploy.teachers import teacher_if_here
    from kdsweep.report.sources.address import Address
    from kdsweep.tracking.mlflow.pages import free_port

    with user_errors():
        _require("gradio", "demo")
        from kdsweep.deploy.demo import serve

        student = load(source, device=device, uri=uri, experiment=experiment)
        teacher = teacher_if_here(student, Address(uri, experiment).open, device)
        models = (
            {"student": student} if teacher is None else {"teacher": teacher, "student": student}
        )
        chosen = port or free_port()
        typer.echo(f"http://127.0.0.1:{chosen} (Ctrl-C ends it)")
        try:
            serve(models, str(student.manifest.run.get("name") or source), chosen)
        except OSError as error:
            raise _port_taken(chosen, error) from error


def _require(package: str, extra: str) -> None:
    """Raises UserError, with how to install it, if an optional package is missing."""
    from kdsweep.common.validation import import_package
    from kdsweep.errors import UserError

    try:
        import_package(package, extra)
    except ValueError as error:
        raise UserError(str(error)) from error


def _port_taken(port: int, error: OSError) -> Exception:
    from kdsweep.errors import UserError

    return UserError(f"--port must be a free port, got {port} ({error})")
