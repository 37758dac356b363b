"""`kdsweep promote`, `push` and `demo`: what they print, and what they refuse."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bundles import written
from typer.testing import CliRunner

from kdsweep.cli.commands import app
from kdsweep.deploy import registry
from kdsweep.deploy.registry import Promoted
from kdsweep.report.sources.address import Address


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (("push", "best", "repository"), "huggingface_hub", "hub"),
        (("demo", "best"), "gradio", "demo"),
    ],
)
def test_a_missing_extra_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, output = run(*words)
    assert code == 1
    assert f"{package} cannot be imported" in output
    assert output.rstrip().endswith(f"pip install 'kdsweep[{extra}]'")


def test_a_source_that_is_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run("promote", "no such run", "--name", "student")
    assert code == 1
    assert output.startswith("SOURCE must be")


def test_promote_prints_the_address_and_how_to_serve_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def promote(*words: Any) -> Promoted:
        given.extend(words)
        uri = "postgresql://me:secret@host/db"
        return Promoted("student", "3", "champion", "kl T=4 seed=0", True, uri)

    monkeypatch.setattr(registry, "promote", promote)
    code, output = run("promote", "best", "--name", "student", "--alias", "champion")
    assert code == 0
    assert given == ["best", "student", "champion", Address()]
    first, second = output.strip().splitlines()
    assert first == "models:/student@champion: version 3 is new, of run kl T=4 seed=0"
    assert "mlflow models serve -m models:/student@champion --env-manager local" in second
    assert "secret" not in output


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The models of each page that is served, without gradio."""
    pages: list[dict[str, Any]] = []
    page = ModuleType("kdsweep.deploy.demo")
    page.serve = lambda models, *_: pages.append(models)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    monkeypatch.setitem(sys.modules, "kdsweep.deploy.demo", page)
    return pages


def test_the_demo_shows_the_teacher_first(tmp_path: Path, served: list[dict[str, Any]]) -> None:
    entry = {"name": "t", "fingerprint": "f00d", "folder": str(tmp_path / "teacher")}
    written(tmp_path / "teacher/checkpoint", 1, run={"name": "t", "fingerprint": "f00d"})
    written(tmp_path / "student", teachers=(entry,))
    code, _ = run("demo", str(tmp_path / "student"))
    assert code == 0
    assert [list(models) for models in served] == [["teacher", "student"]]


def test_the_demo_of_a_student_whose_teacher_is_not_here(
    tmp_path: Path, served: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "student", teachers=({"name": "resnet56"},))
    code, _ = run("demo", str(tmp_path / "student"))
    assert code == 0
    assert "without its teacher: SOURCE must be a run with its teacher's weights" in caplog.text
    assert [list(models) for models in served] == [["student"]]
