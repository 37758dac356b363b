"""examples/own_parts: a network, a loss, a data set, ... in a package of the user's own."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from commands import TINY, Outcome, run_train
from own_modules import EXAMPLE, forgotten
from PIL import Image
from typer.testing import CliRunner

import kdsweep
from kdsweep.cli import app
from kdsweep.config.allow import allow
from kdsweep.errors import UserError
from kdsweep.tracking.metadata import read_result

SMALL = [
    *["--config-dir", "conf", "experiment=own", "tracking=none", "tracking.report=false"],
    *["tracking.plots=none", "dataset.source.num_train=64", "dataset.source.num_test=16"],
    *["trainer.epochs=2", "trainer.batch_size=16", "teacher.trainer.epochs=1"],
    *["teacher.trainer.batch_size=16", "teacher.model.width=8", "tracking.checkpoint_seconds=0"],
]

KINDS = ("python", "yaml")  # of the blocks of the docs


def copy_example(folder: Path) -> Path:
    return shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)


def train(*words: str, capsys: pytest.CaptureFixture[str]) -> Outcome:
    """`kdsweep train` in the current folder."""
    capsys.readouterr()
    code = run_train([*SMALL, *words])
    out, err = capsys.readouterr()
    return Outcome(code, out, err, Path.cwd())


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the example, with a sweep over two seeds; no test changes it."""
    folder = copy_example(tmp_path_factory.mktemp("own_parts"))
    with forgotten(folder):
        with chdir(folder):
            assert run_train([*SMALL, "seed=0,1", "hydra.sweep.dir=multirun/sweep"]) == 0
        yield folder


@pytest.fixture
def in_swept(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(swept)
    with forgotten(swept):
        yield swept


@pytest.fixture
def in_copy(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example that a test may change."""
    monkeypatch.chdir(copy_example(own_modules))
    return own_modules


@pytest.mark.slow
def test_a_run_in_lockstep_is_the_run_alone(
    in_swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The augmentation draws the same, the optimizer and the network share nothing."""
    outcome = train("seed=1", "hydra.sweep.dir=multirun/alone", capsys=capsys)
    assert outcome.code == 0, outcome.err
    alone = read_result(in_swept / "multirun/alone/0")
    together = [read_result(in_swept / f"multirun/sweep/{number}") for number in (0, 1)]
    assert alone is not None
    assert None not in together
    assert [one.weights_sha256 == alone.weights_sha256 for one in together] == [False, True]
    assert alone.fingerprint == together[1].fingerprint


@pytest.mark.ci
def test_all_parts_pass_the_checks(in_swept: Path) -> None:
    code, printed = invoke("check", *SMALL)
    assert code == 0, printed
    for part in ("networks", "losses", "data", "augmentations", "optimizers", "schedules"):
        assert f"mylab.{part}." in printed
    assert " 0 failed" in printed


def test_a_network_is_loaded_where_its_module_is_allowed(
    in_swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_swept / "multirun/sweep/0"
    classifier = kdsweep.load(str(run))
    assert type(classifier.module).__module__ == "mylab.networks"
    images = torch.zeros(3, 1, 12, 12, dtype=torch.uint8)
    assert len(classifier.predict(list(images))) == 3
    monkeypatch.chdir(tmp_path)
    allow()
    with pytest.raises(UserError) as refused:
        kdsweep.load(str(run))
    assert str(refused.value) == (
        f"SOURCE must be a network of kdsweep, got {run}/checkpoint/classifier.json:"
        " model._target_ must be kdsweep.models.*, got mylab.networks.TinyNet; if mylab is a module"
        " that you trust: kdsweep --allow mylab COMMAND, kdsweep.load(SOURCE, allow=['mylab']), or"
        ' allow = ["mylab"] below [tool.kdsweep] in pyproject.toml'
    )
    assert kdsweep.load(str(run), allow=["mylab"]).classes == classifier.classes


def test_where_the_module_is_not_there_one_sentence_is_printed(
    in_swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_swept / "multirun/sweep/0"
    with forgotten(in_swept):
        pass
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(in_swept)])
    monkeypatch.chdir(tmp_path)
    Image.new("L", (12, 12)).save("grey.png")
    code, printed = invoke("--allow", "mylab", "predict", str(run), "grey.png")
    assert code == 1
    assert printed.strip().endswith(
        "model._target_ must be in a module that can be imported, got mylab.networks.TinyNet:"
        f" no module mylab is in {tmp_path} or installed"
    )


@pytest.mark.ci
def test_the_config_of_a_run_allows_nothing_by_itself(
    in_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pyproject.toml").unlink()
    outcome = train(capsys=capsys)
    assert outcome.code == 1
    lines = outcome.err.strip().splitlines()
    keys = {line.partition("._target_ must be")[0] for line in lines}
    assert {"dataset.source", "student.model", "optimizer", "schedule", "loss.huber"} <= keys
    assert all(line.endswith("; allow=[mylab] allows what is in mylab") for line in lines)
    word = "hydra.sweep.dir=multirun/one"
    assert train("allow=[mylab]", word, capsys=capsys).code == 0
    assert "allow:\n- mylab\n" in Path("multirun/one/0/config.yaml").read_text()
    code, printed = invoke("rerun", "multirun/one/0")
    assert code == 1
    assert "mylab.losses.LogitHuber; allow=[mylab] allows what is in mylab" in printed
    code, printed = invoke("--allow", "mylab", "rerun", "multirun/one/0")
    assert code == 0, printed
    allow()
    with pytest.raises(UserError, match="kdsweep --allow mylab COMMAND"):
        kdsweep.load("multirun/one/0")


@pytest.mark.slow
def test_an_edited_loss_is_another_run(in_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = "hydra.sweep.dir=multirun/first"
    assert train(named, capsys=capsys).code == 0
    path = in_copy / "mylab" / "losses.py"
    path.write_text(path.read_text().replace("return F.huber_loss", "return 2 * F.huber_loss"))
    outcome = train(named, "resume=true", capsys=capsys)
    assert outcome.code == 1
    assert "hydra.sweep.dir must be" in outcome.err
    outcome = train("resume=true", capsys=capsys)
    assert outcome.code == 0, outcome.err
    assert "no earlier sweep of these runs, this one starts afresh" in outcome.err + outcome.out
    first, second = read_result(Path("multirun/first/0")), read_result(outcome.sweep / "0")
    assert first is not None
    assert second is not None
    assert first.fingerprint != second.fingerprint
    assert first.weights_sha256 != second.weights_sha256
    code, printed = invoke("rerun", "multirun/first/0")
    assert code == 3
    assert "the source of mylab" in printed


@pytest.mark.slow
def test_an_augmentation_that_fails_is_refused_before_training(
    in_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = in_copy / "mylab" / "augmentations.py"
    path.write_text(path.read_text().replace("images.int()", "images.integers()"))
    outcome = train(capsys=capsys)
    assert outcome.code == 1
    assert outcome.err.strip().splitlines()[-1] == (
        "dataset.augment.own.brightness: AttributeError: 'Tensor' object has no attribute"
        " 'integers' (augmentations.py, line 20)"
    )


@pytest.mark.slow
def test_a_search_is_refused_an_edited_loss(
    in_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search=bayes", "search.name=mine", "search.finalists=0", "search.seeds=[0]"]
    words += ["hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2", "alpha=interval(0.1,0.9)"]
    outcome = train(*words, capsys=capsys)
    assert outcome.code == 0, outcome.err
    path = in_copy / "mylab" / "losses.py"
    path.write_text(path.read_text().replace("return F.huber_loss", "return 2 * F.huber_loss"))
    outcome = train(*words, capsys=capsys)
    assert outcome.code == 1
    assert "source of your modules of the search mine must stay {mylab: " in outcome.err


@pytest.mark.slow
def test_parts_of_kdsweep_go_with_them(in_swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["loss=[kl,fitnet]", "schedule=step", "optimizer=adamw"]
    outcome = train(*words, "hydra.sweep.dir=multirun/mixed", capsys=capsys)
    assert outcome.code == 0, outcome.err
    assert outcome.sweep.name == "mixed"


@pytest.mark.ci
def test_the_network_of_the_docs_passes(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_modules)
    page = (EXAMPLE.parents[1] / "docs" / "own_parts.md").read_text()
    code, config = (re.findall(rf"^```{kind}\n(.*?)^```$", page, re.M | re.S)[0] for kind in KINDS)
    Path("mynet.py").write_text(code)
    Path("conf/student").mkdir(parents=True)
    Path("conf/student/tinynet.yaml").write_text(config)
    (words,) = re.findall(r"^    kdsweep (check .*)$", page, re.M)
    small = ["loss=ce", "teacher=none", *TINY[:4], "trainer.epochs=2", "trainer.batch_size=16"]
    code_of_exit, printed = invoke(*shlex.split(words), *small)
    assert code_of_exit == 0, printed
    assert "mynet.TinyNet" in printed


def test_the_readme_s_commands_are_those_that_are_tested() -> None:
    text = (EXAMPLE / "README.md").read_text()
    assert "kdsweep check --config-dir conf experiment=own" in text
    for path in EXAMPLE.rglob("*.yaml"):
        assert path.name in text or path.parent.name == "experiment", path
    for path in (EXAMPLE / "mylab").glob("[!_]*.py"):
        assert f"mylab/{path.name}" in text, path
