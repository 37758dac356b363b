"""`kdsweep rerun RUN`: the same run again, and whether it is the same."""

import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from commands import TINY, Command, Compose
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.common.types import Batch, Output
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget
from kdsweep.runs.build_specs import build_specs
from kdsweep.tracking.console import Progress
from kdsweep.training.teacher import Teacher
from kdsweep.work.inline import train

NAME = "kl T=4 alpha=0.25 seed=0"


def rerun(*words: object) -> tuple[int, str]:
    """The exit code, and the output with each line's spaces folded."""
    found = CliRunner().invoke(app, ["rerun", *map(str, words)], env={"COLUMNS": "160"})
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, re.sub(r"[ │]+", " ", found.output)


@pytest.fixture(scope="module")
def trained(compose: Compose, teachers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, which was trained by itself."""
    words = [*TINY, "loss=kl", "alpha=0.25", f"teacher.store={teachers}", "tracking=none"]
    (spec,) = build_specs([compose(*words)], [words], 0, [])
    folder = tmp_path_factory.mktemp("trained") / "0"
    with closing(TrainingContext(spec.config.tracking, Progress())) as context:
        train([RunTarget(spec, folder)], context)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in an empty project."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, tmp_path / "multirun" / "mine" / "0"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_the_same_again_in_a_folder_of_its_own(run: Path) -> None:
    before = content(run)
    code, output = rerun("multirun/mine/0")
    assert code == 0, output
    assert "config, data, weights of teachers, versions and machine are as recorded" in output
    digest = read_json(run / "result.json")["weights_sha256"]
    expected = f"{NAME}: the same, bit for bit: weights {digest[:16]} and the metrics of 2 epochs"
    assert expected in output
    (again,) = (note.parent for note in Path("outputs").glob("*/*/result.json"))
    assert f"the rerun is in {again}" in output
    assert (again / "config.yaml").read_text() == (run / "config.yaml").read_text()
    assert content(run) == before
    assert {path.name for path in Path().iterdir()} == {"multirun", "outputs"}


def test_another_config_is_another_run(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("weight: 0.25", "weight: 0.75"))
    code, output = rerun(run, "--dir", "again")
    assert code == 3, output
    assert re.search(r"fingerprint \w{16} \w{16}", output)
    assert "loss.kl.weight 0.25 0.75" in output
    differ = rf"{NAME}: not the same: \d+ of \d+ tensors of the weights differ, by at most [\d.]+"
    assert re.search(differ, output)
    assert "the metrics differ from epoch 0 on" in output
    assert re.search(r"train/loss [\d.]+ [\d.]+ [\d.]+ [01]", output)
    assert Path("again/result.json").is_file()


def test_what_was_recorded_otherwise_is_printed(run: Path) -> None:
    result = read_json(run / "result.json")
    result["provenance"]["environment"]["torch"] = "1.0"
    result["provenance"]["inputs"] = {"dataset": "d" * 64, "teacher": "e" * 64}
    result["weights_sha256"] = "f" * 64  # so that it cannot be the same
    write_json_atomic(run / "result.json", result)
    code, output = rerun(run)
    assert code == 3, output
    assert f"data {'d' * 16} " in output
    assert f"weights of teacher {'e' * 16} " in output
    assert "torch 1.0 " in output
    assert "fingerprint" not in output
    assert f"by how much is unknown: {run}/checkpoint/model.safetensors is damaged" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "RUN must be a run's folder, its id in MLflow, its fingerprint or its name"),
        (["multirun"], "RUN must be a run's folder (with a run.json or a result.json), got"),
        (["f" * 32], "--uri must be an MLflow store, got sqlite:///mlflow.db, which is not there"),
        (["mine/0", "--dir", "multirun"], "--dir must be a new or an empty folder, got multirun"),
        (["mine/0", "--uri", "sqlite:///no.db"], "--uri must be an MLflow store, got"),
    ],
)
def test_what_cannot_be_done_is_refused(run: Path, words: list[str], message: str) -> None:
    code, output = rerun(*words)
    assert code == 1
    assert output.startswith(message)
    assert output.count("\n") == 1
    assert not Path("outputs").exists()


def test_an_unfinished_run_is_refused_by_its_state(run: Path) -> None:
    result = read_json(run / "result.json") | {"status": "KILLED", "reason": "interrupted"}
    write_json_atomic(run / "result.json", result)
    code, output = rerun(NAME)
    assert code == 1
    assert output == (
        "RUN must be a run that has finished, got multirun/mine/0, which is KILLED (interrupted)\n"
    )


def test_a_rerun_that_fails_is_named_with_its_reason(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"\n  lr: .*", "\n  lr: 1.0e+30", text))
    code, output = rerun(run, "--dir", "again")
    assert code == 1
    assert f"{NAME} in again is FAILED: non-finite" in output


def test_data_that_is_not_there_is_refused(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    text = re.sub(
        r"_target_: kdsweep.data.fake.Fake\n( +)",
        r"_target_: kdsweep.data.image_folder.ImageFolder\n\1root: none\n\1",
        text,
    )
    (run / "config.yaml").write_text(text)
    code, output = rerun(run)
    assert code == 1
    assert "dataset" in output
    assert not Path("outputs").exists()


SWEEPS = {
    "stages": ["stages=hints", "stages.hints.epochs=1", "student=cnn", "student.model.width=4"],
    "online": ["teacher.online=true"],
    "peers": ["teacher=peers"],
    "assistant": ["teacher=assistant", "teacher.teacher.trainer.epochs=1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("words", SWEEPS.values(), ids=SWEEPS)
def test_a_run_of_a_sweep_is_the_same_alone(command: Command, words: list[str]) -> None:
    outcome = command(*words, "T=1,4")
    assert outcome.code == 0, outcome.err
    code, output = rerun(outcome.sweep / "1")
    assert code == 0, output
    assert "are as recorded" in output
    compared = output.count("the same, bit for bit")
    peers = list((outcome.sweep / "1").glob("peers/*"))
    assert compared == 1 + len(peers)
    for folder in [*peers, *outcome.sweep.glob("teacher-*")]:
        code, output = rerun(folder)
        assert code == 1
        assert "must be a run that is trained on its own" in output
    for folder in outcome.sweep.glob("stage-*"):
        assert rerun(folder)[0] == 0


@pytest.mark.slow
def test_a_run_with_kept_logits_is_the_same_without(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    targets = Teacher.targets

    def counted(self: Teacher, batch: Batch, step: int) -> Output:
        steps.append(step)
        return targets(self, batch, step)

    assert command("T=1").code == 0
    monkeypatch.setattr(Teacher, "targets", counted)
    outcome = command("T=4")
    assert outcome.code == 0, outcome.err
    assert steps == []
    code, output = rerun(outcome.sweep / "0")
    assert code == 0, output
    assert "the same, bit for bit" in output
    assert steps != []


@pytest.mark.slow
def test_a_teacher_is_the_same_without_the_store(command: Command, own_teachers: str) -> None:
    outcome = command("T=1", own_teachers)
    (teacher,) = (note.parent for note in outcome.folder.glob("teachers/*/result.json"))
    moved = teacher.rename(outcome.folder / "moved")
    code, output = rerun(outcome.sweep / "0")
    assert code == 0, output
    assert re.search(r"weights of teacher \w{16} not there", output)
    assert rerun(moved)[0] == 0


@pytest.mark.slow
def test_a_run_that_only_mlflow_has_is_the_same(command: Command) -> None:
    outcome = command("T=1,4", tracking=True)
    run_id = str(outcome.rows[1]["mlflow_run_id"])
    sweep = read_json(outcome.sweep / "sweep.json")["parent_run_id"]
    shutil.rmtree(outcome.folder / "multirun")
    code, output = rerun(run_id[:12])
    assert code == 0, output
    assert "are as recorded" in output
    assert "the same, bit for bit" in output
    assert "and the metrics of 2 epochs" in output
    code, output = rerun(sweep)
    assert (code, output) == (1, f"RUN must be a single run, got {sweep}, a sweep\n")


@pytest.mark.slow
def test_a_run_of_a_search_is_the_same_alone(command: Command) -> None:
    outcome = command("search=bayes", "hydra.sweeper.n_trials=2", "search.name=mine")
    assert outcome.code == 0, outcome.err
    note = next(outcome.folder.glob("multirun/mine/*/seed-0/result.json"))
    assert json.loads(note.read_text())["status"] == "FINISHED"
    code, output = rerun(note.parent)
    assert code == 0, output
