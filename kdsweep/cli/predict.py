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

    from kdsweep.deploy.answer_formats import Layout
    from kdsweep.deploy.classifier import Classifier

BROKEN = 1  # exit code if an image could not be read
CONFUSION = Path("confusion.png")
MODEL, TEACHER = "model", "teacher"


class Format(StrEnum):
    """Of the answers."""

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
    form: Annotated[Format, typer.Option("--format", help="of the answers")] = Format.table,
    top: Annotated[int, typer.Option(min=1, help="classes of each image, at most")] = 3,
    output: Annotated[
        Path | None, typer.Option(help="file for the answers, instead of stdout")
    ] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="its teacher's answers next to those of the model")
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

    Images in folders that are named as classes give the accuracy and a picture of the confusion. An
    image that cannot be read is named on stderr and left out; the exit code is 1 then.
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
            session.answer(form, file, batch_size)
        session.report(confusion)
    if session.broken:
        raise typer.Exit(BROKEN)


def _paths(images: Sequence[str]) -> list[str]:
    """The path of each image. Raises UserError if there is none."""
    from kdsweep.deploy.image_paths import image_paths
    from kdsweep.errors import UserError

    paths = list(image_paths(images, sys.stdin.buffer))
    if not paths:
        raise UserError(f"IMAGES must name at least one image, got {' '.join(images)}")
    return paths


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """The file for the answers, else stdout."""
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
    """Answers, what is known of them, and lines about them on stderr."""

    def __init__(self, models: dict[str, "Classifier"], paths: list[str], top: int) -> None:
        from rich.console import Console

        from kdsweep.deploy.image_paths import ClassFolders
        from kdsweep.deploy.scores import Scores

        self.models, self.paths, self.top = models, paths, top
        self.console = Console(stderr=True)
        self.label_of = ClassFolders(models[MODEL].classes).label_of
        self.scores = Scores(models[MODEL].classes, list(models))
        self.broken = 0

    def answer(self, form: Format, file: TextIO, batch_size: int) -> None:
        """Write a line for each image, and name those that are broken."""
        from kdsweep.common.pacing import with_lines
        from kdsweep.deploy.answer_formats import FORMATS
        from kdsweep.deploy.predict import Answer, predict_files

        for name, model in self.models.items():
            self._say(
                f"{name}: {', '.join(filter(None, map(model.source.get, ('name', 'folder'))))}"
            )
        lines = FORMATS[form.value](self._layout())
        if (header := lines.header()) is not None:
            file.write(f"{header}\n")
        found = predict_files(
            self.paths, list(self.models.values()), top=self.top, batch_size=batch_size
        )
        with _progress(self.console, bars=not file.isatty()):
            for one in with_lines(found, "images", total=len(self.paths)):
                if not isinstance(one, Answer):
                    self.broken += 1
                    self._say(f"{one.file}: {one.reason}")
                    continue
                file.write(f"{lines.line(one)}\n")
                if (label := self.label_of(one.file)) is not None:
                    self.scores.add(one, label)

    def report(self, picture: Path) -> None:
        """The accuracy, if there are images in class folders, and how many were broken."""
        if self.scores.count:
            for name in self.models:
                acc = self.scores.accuracy(name)
                self._say(
                    f"{name}: accuracy {acc:.2%} of {self.scores.count:,} images in class folders"
                )
            self.scores.draw(MODEL, picture)
            self._say(f"confusion {picture}")
        if self.broken:
            self._say(f"{self.broken:,} of {len(self.paths):,} images could not be read")

    def _layout(self) -> "Layout":
        from kdsweep.deploy.answer_formats import Layout

        has_labels = any(self.label_of(path) is not None for path in self.paths)
        return Layout(
            files=self.paths,
            classes=self.models[MODEL].classes,
            top=self.top,
            has_teacher=TEACHER in self.models,
            label_of=self.label_of if has_labels else None,
        )

    def _say(self, line: str) -> None:
        from kdsweep.tracking.printing import print_line

        print_line(self.console, line)


@contextmanager
def _progress(console: "Console", *, bars: bool) -> Iterator[None]:
    """A bar on a terminal, lines elsewhere; neither where the answers are on the terminal."""
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
