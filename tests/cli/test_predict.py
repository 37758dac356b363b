"""`kdsweep predict`."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from bundles import written
from click.testing import Result
from pictures import pixels
from PIL import Image
from typer.testing import CliRunner

from kdsweep.cli import app

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its teacher, and two images of each class."""
    teacher = {"name": "t", "fingerprint": "f00d", "folder": "teacher"}
    written(tmp_path / "teacher" / "checkpoint", 1, run={"name": "t", "fingerprint": "f00d"})
    written(tmp_path / "model", run={"name": "mine"}, teachers=(teacher,))
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(2):
            image = GENERATOR.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["predict", *words], input=stdin)


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_each_image_has_a_line(project: Path) -> None:
    result = predict("model", "images")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["file", "class", "probability", "then"]
    assert [line.split()[0] for line in lines] == [
        f"images/{name}/{number}.png" for name in ("cat", "dog") for number in (0, 1)
    ]
    assert "model: mine, model" in result.stderr


def test_class_folders_give_the_accuracy_and_a_picture(project: Path) -> None:
    result = predict("model", "images", "--format", "csv", "--teacher", "--confusion", "made/c.png")
    found = rows(result)
    assert [row["label"] for row in found] == ["cat", "cat", "dog", "dog"]
    for name, column in (("model", "class"), ("teacher", "teacher_class")):
        acc = sum(row[column] == row["label"] for row in found) / 4
        assert f"{name}: accuracy {acc:.2%} of 4 images in class folders" in result.stderr
    assert pixels("made/c.png").size
    assert not Path("confusion.png").exists()


def test_images_outside_of_class_folders_have_no_accuracy(project: Path) -> None:
    Path("images/cat/0.png").rename("other.png")
    result = predict("model", "other.png", "--format", "csv")
    assert list(rows(result)[0]) == ["file", "class", "probability", "class_2", "probability_2"]
    assert "accuracy" not in result.stderr
    assert not Path("confusion.png").exists()


def test_a_broken_image_is_named_and_the_exit_code_is_1(project: Path) -> None:
    Path("images/cat/0.png").write_bytes(b"nothing")
    result = predict("model", "images", "missing.png", "--format", "jsonl")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    assert "images/cat/0.png: it is not an image of a supported format" in result.stderr
    assert "missing.png: No such file or directory" in result.stderr
    assert "2 of 5 images could not be read" in result.stderr


def test_paths_are_read_from_stdin(project: Path) -> None:
    words = ("model", "-", "--format", "jsonl", "--top", "1")
    result = predict(*words, stdin="images/cat/0.png\nimages/dog/1.png\n")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["file"] for one in found] == ["images/cat/0.png", "images/dog/1.png"]
    assert all(len(one["top"]) == 1 for one in found)


def test_answers_are_written_to_a_file(project: Path) -> None:
    result = predict("model", "images", "--format", "csv", "--output", "answers.csv")
    assert result.stdout == ""
    assert len(Path("answers.csv").read_text().splitlines()) == 5
    result = predict("model", "images", "--output", "absent/answers.csv")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "--output must be a file, got absent/answers.csv (No such file or directory)"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("model", "empty"), "IMAGES must name at least one image, got empty"),
        (("absent", "images"), "SOURCE must be a run's folder, "),
        (("teacher", "images", "--teacher"), "SOURCE must be a run with a teacher for --teacher"),
        (("model", "images", "--device", "abacus"), "--device must be auto, cpu or a device"),
        (("model", "images", "--confusion", "other.png/c.png"), "--confusion must be in a folder"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    project: Path, words: tuple[str, ...], sentence: str
) -> None:
    Path("empty").mkdir()
    Path("other.png").touch()
    result = predict(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith(sentence)
    assert len(result.stderr.splitlines()) == 1


def test_help_names_the_options() -> None:
    page = CliRunner().invoke(app, ["predict", "--help"], env={"COLUMNS": "200"}).output
    for option in ("--format", "--top", "--output", "--teacher", "--confusion", "--batch-size"):
        assert option in page
