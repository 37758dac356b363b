"""Every train.py command of the README runs, scaled down; those of docs/ pass a dry run."""

import re
import shlex
from pathlib import Path

import pytest
from commands import Command
from mlflow import MlflowClient
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.deploy import timing

TOP = Path(__file__).parents[1]
PAGES = (
    "cluster",
    "configuration",
    "index",
    "lockstep",
    "resume",
    "statistics",
    "teaching",
    "tracking",
    "tutorial",
)


def commands_of(page: str) -> list[str]:
    """The arguments of `python train.py` in the indented lines of a page."""
    text = (TOP / page).read_text().replace("\\\n", " ")
    return re.findall(r"^    python train\.py(.*)$", text, re.MULTILINE)


PHOTOGRAPHS = "dataset.root=photographs"
COMMANDS = [words for words in commands_of("README.md") if PHOTOGRAPHS not in words]
SHOWN = [(page, words) for page in PAGES for words in commands_of(f"docs/{page}.md")]


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.slow
def test_the_student_is_shipped(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    section = (TOP / "README.md").read_text().partition("### Ship the student")[2]
    lines = re.findall(r"^    kdsweep ([^#\n]+)", section, re.MULTILINE)
    assert [line.split()[0] for line in lines[:3]] == ["export", "quantize", "promote"]
    assert command("T=1,4", tracking=True).code == 0
    for line in lines[:3]:
        done = CliRunner().invoke(app, shlex.split(line))
        assert done.exit_code == 0, done.output
    assert MlflowClient("sqlite:///mlflow.db").get_model_version_by_alias("student", "champion")
    done = CliRunner().invoke(app, ["report"])
    assert done.exit_code == 0, done.output
    (text,) = Path().glob("multirun/**/report.md")
    assert "| int8 static | " in text.read_text().partition("## The model you ship")[2]


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_readme(command: Command, words: str) -> None:
    scaled = [word.replace("n_trials=16", "n_trials=2") for word in shlex.split(words)]
    outcome = command(*scaled)
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in outcome.rows} == {"FINISHED"}


@pytest.mark.slow
def test_the_photographs_of_the_readme(command: Command, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    weights = tmp_path / "lite0.safetensors"
    save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), weights)
    for number in range(60):
        part, name = ("train", "val")[number % 3 == 2], ("ants", "bees")[number % 2]
        path = tmp_path / "photographs" / part / name / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60 + number, 50), (4 * number, number, 255 - number)).save(path)
    (words,) = (words for words in commands_of("README.md") if PHOTOGRAPHS in words)
    small = {
        "teacher.start=DEFAULT": f"teacher.start={weights}",
        "dataset.source.image_size=128": "dataset.source.image_size=32",
        "trainer.epochs=30": "trainer.epochs=1",
        "trainer.batch_size=32": "trainer.batch_size=8",
        "seed=0,1,2": "seed=0",
    }
    given = shlex.split(words)
    assert set(small) < set(given)
    outcome = command(*[small.get(word, word) for word in given], tiny=False)
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in outcome.rows} == {"FINISHED"}
    assert len({row["cell"] for row in outcome.rows}) == 5
    assert "teacher tf_efficientnet_lite0: val " in outcome.out + outcome.err


def test_the_pages_have_commands() -> None:
    assert {page for page, _ in SHOWN} == {*PAGES} - {"statistics"}


@pytest.fixture
def photos(tmp_path: Path) -> None:
    """The image folder of the tutorial, in the current folder."""
    for number in range(120):
        path = tmp_path / "photos" / "train" / ("cats", "dogs")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32), (2 * number, number, 255 - number)).save(path)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "words"), SHOWN)
def test_a_command_of_a_page(command: Command, photos: None, page: str, words: str) -> None:
    arguments = shlex.split(words, comments=True)
    if {"--help", "--cfg"} & {*arguments}:
        outcome = command(*arguments, tiny=False)
        assert outcome.code == 0, outcome.err
        return
    has_tracking = any(word.startswith("tracking=") for word in arguments)
    tracking = [] if has_tracking else ["tracking=none"]
    outcome = command(*arguments, "dry_run=true", *tracking, tiny=False)
    assert outcome.code == 0, outcome.err
    assert "nothing was trained" in " ".join(outcome.out.split())
