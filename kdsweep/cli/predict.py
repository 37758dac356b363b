"""`kdsweep predict`: the classes of images, by a trained model."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from kdsweep.cli.options import NAMED_MODEL, Experiment, Uri, refuse_unwritable, user_errors

if TYPE_CHECKING:
    from rich.console import Console

    from kdsweep.deploy.classifier import Classifier
    from kdsweep.deploy.prediction_formats import Layout

UNREADABLE = 1  # exit code if an image could not be read
CONFUSION = Path("confusion.png")
MODEL, TEACHER = "model", "teacher"


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"


def predict(
    source: Annotated[str, typer.Argument(help=NAMED_MODEL)],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="files, folders, patterns like 'a/**/*.png', or - for a path a line on stdin",
        ),
    ],
    form: Annotated[Format, typer.Option("--format", help="of the predictions")] = Format.table,
    top: Annotated[int, typer.Option(min=1, help="classes of each image, at most")] = 3,
    output: Annotated[
        Path | None, typer.Option(help="file for the predictions, instead of stdout")
    ] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="also print the predictions of the model's teacher")
    ] = False,
    confusion: Annotated[
        Path, typer.Option(help="picture of the confusion, if images are in class folders")
    ] = CONFUSION,
    batch_size: Annotated[int, typer.Option(min=1, help="images in memory at a time")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "cpu",
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Classify images of any size and mode with a trained model, as in training's evaluation.

    If images are in folders that are named as classes, the accuracy is printed and a picture of the
    confusion is drawn. Unreadable images are named on stderr and skipped; the exit code is then 1.
    """
    from kdsweep.deploy.sources import load
    from kdsweep.deploy.teachers import teacher_of
    from kdsweep.report.sources.address import Address

    with user_errors():
        refuse_unwritable("--confusion", confusion.parent)
        paths = _paths(images)
        models = {MODEL: load(source, device=device, uri=uri, experiment=experiment)}
        if teacher:
            open_store = Address(uri, experiment).open
            models[TEACHER] = teacher_of(models[MODEL], open_store, device)
        session = _Session(models, paths, top)
        with _opened(output) as file:
            session.predict(form, file, batch_size)
        session.report(confusion)
    if session.unreadable:
        raise typer.Exit(UNREADABLE)


def _paths(images: Sequence[str]) -> list[str]:
    """The paths of all images. Raises UserError if there are none."""
    from kdsweep.deploy.image_paths import image_paths
    from kdsweep.errors import UserError

    paths = list(image_paths(images, sys.stdin.buffer))
    if not paths:
        raise UserError(f"IMAGES must name at least one image, got {' '.join(images)}")
    return paths


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """The file for the predictions; stdout without one."""
    from kdsweep.errors import UserError

    if output is None:
        yield sys.stdout
        return
    try:
        file = output.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"--output must be a file, got {output} ({error.strerror})") from error
    with file:
        yield file


class _Session:
    """Writes predictions, counts their accuracy, and reports on stderr."""

    def __init__(self, models: dict[str, "Classifier"], paths: list[str], top: int) -> None:
        from rich.console import Console

        from kdsweep.deploy.image_paths import ClassFolders
        from kdsweep.deploy.scores import Scores

        self.models, self.paths, self.top = models, paths, top
        self.console = Console(stderr=True)
        self.label_of = ClassFolders(models[MODEL].classes).label_of
        self.scores = Scores(models[MODEL].classes, list(models))
        self.unreadable = 0

    def predict(self, form: Format, file: TextIO, batch_size: int) -> None:
        """Write a line for each image; name unreadable ones on stderr."""
        from kdsweep.common.pacing import with_lines
        from kdsweep.deploy.predict import FilePrediction, predict_files
        from kdsweep.deploy.prediction_formats import FORMATS

        for name, model in self.models.items():
            self._print(
                f"{name}: {', '.join(filter(None, map(model.source.get, ('name', 'folder'))))}"
            )
        lines = FORMATS[form.value](self._layout())
        if (header := lines.header()) is not None:
            file.write(f"{header}\n")
        predictions = predict_files(
            self.paths, list(self.models.values()), top=self.top, batch_size=batch_size
        )
        with _progress(self.console, bars=not file.isatty()):
            for one in with_lines(predictions, "images", total=len(self.paths)):
                if not isinstance(one, FilePrediction):
                    self.unreadable += 1
                    self._print(f"{one.file}: {one.reason}")
                    continue
                file.write(f"{lines.line(one)}\n")
                if (label := self.label_of(one.file)) is not None:
                    self.scores.add(one, label)

    def report(self, picture: Path) -> None:
        """Print the accuracy, if images are in class folders, and the number of unreadable ones."""
        if self.scores.count:
            for name in self.models:
                acc = self.scores.accuracy(name)
                self._print(
                    f"{name}: accuracy {acc:.2%} of {self.scores.count:,} images in class folders"
                )
            self.scores.draw(MODEL, picture)
            self._print(f"confusion {picture}")
        if self.unreadable:
            self._print(f"{self.unreadable:,} of {len(self.paths):,} images could not be read")

    def _layout(self) -> "Layout":
        from kdsweep.deploy.prediction_formats import Layout

        has_labels = any(self.label_of(path) is not None for path in self.paths)
        return Layout(
            files=self.paths,
            classes=self.models[MODEL].classes,
            top=self.top,
            has_teacher=TEACHER in self.models,
            label_of=self.label_of if has_labels else None,
        )

    def _print(self, line: str) -> None:
        from kdsweep.tracking.printing import print_line

        print_line(self.console, line)


@contextmanager
def _progress(console: "Console", *, bars: bool) -> Iterator[None]:
    """A bar on a terminal, lines elsewhere; neither if predictions go to the terminal."""
    from kdsweep.common import pacing
    from kdsweep.tracking.bars import WorkBar, new_bars
    from kdsweep.tracking.printing import print_line, printed

    if not console.is_terminal:
        print_text: Callable[[str], None] = lambda text: print_line(console, text)  # noqa: E731
        with printed(pacing.logger, logging.INFO, print_text):
            yield
    elif bars:
        drawn = new_bars(console)
        with drawn, pacing.watched(WorkBar(drawn).show):
            yield
    else:
        yield
