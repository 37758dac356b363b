"""What `deploy=onnx` and the like make of a sweep's best run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from commands import Command, Compose, Refusal

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.config import validate
from kdsweep.config.schema import DeployConfig
from kdsweep.deploy import sources
from kdsweep.errors import UserError
from kdsweep.search.validation import refuse_deploy
from kdsweep.sweeps import deployment, finalize
from kdsweep.sweeps.deployment import deploy_best
from kdsweep.tracking.metadata import SWEEP

ONNX = "T: 4\ntracking: {}\ndeploy: {export: [onnx], quantize: [static]}\n"


def made_sweep(folder: Path, config: str = ONNX) -> Path:
    """A sweep of two runs, of which the second is better."""
    for number, accuracy in enumerate((0.5, 0.75)):
        run = folder / str(number)
        run.mkdir(parents=True)
        write_json_atomic(run / "run.json", {"name": str(number), "params": {}, "started": 1})
        result = {"status": "FINISHED", "name": str(number), "val/acc": accuracy}
        write_json_atomic(run / "result.json", result)
        (run / "config.yaml").write_text(config)
    write_json_atomic(folder / SWEEP, {"name": "mine", "created": 0})
    return folder


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, DeployConfig]]:
    """Collects what is to be made, in place of making it."""
    calls: list[tuple[Path, DeployConfig]] = []
    monkeypatch.setattr(deployment, "_deploy", lambda run, what, made: calls.append((run, what)))
    return calls


def test_it_is_made_of_the_best_run_by_validation(
    tmp_path: Path, deployed: list[tuple[Path, DeployConfig]]
) -> None:
    deploy_best(made_sweep(tmp_path))
    assert deployed == [(tmp_path / "1", DeployConfig(["onnx"], ["static"]))]


@pytest.mark.parametrize(
    "config",
    ["T: 4\ntracking: {}\n", "tracking: {}\ndeploy: {export: [], quantize: []}\n"],
    ids=["of an earlier version", "none"],
)
def test_nothing_is_made_without_the_option(
    tmp_path: Path, deployed: list[tuple[Path, DeployConfig]], config: str
) -> None:
    assert deploy_best(made_sweep(tmp_path, config)) == []
    assert deployed == []


@pytest.mark.parametrize("error", [UserError("no such layer"), RuntimeError("no such layer")])
def test_what_fails_is_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(deployment, "_deploy", fail)
    deploy_best(made_sweep(tmp_path))
    assert "(no such layer)" in caplog.text
    assert f"`kdsweep export {tmp_path}/best`" in caplog.text


def test_what_was_made_before_a_failure_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no such layer")

    monkeypatch.setattr(deployment, "_exported", lambda classifier, form: print)
    monkeypatch.setattr(deployment, "_measured", fail)
    monkeypatch.setattr(sources, "find_bundle", lambda *_: tmp_path)
    monkeypatch.setattr(sources, "load_bundle", lambda folder: None)
    assert deploy_best(made_sweep(tmp_path / "sweep")) == [print]


def test_it_is_made_before_the_report_unless_the_sweep_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(finalize, "deploy_best", lambda folder: calls.append("deploy") or [print])
    monkeypatch.setattr(finalize, "close", lambda *_, **__: calls.append("report"))
    sweep = made_sweep(tmp_path)
    context: Any = SimpleNamespace(
        retrier=MagicMock(), options=SimpleNamespace(report=True, plots="none")
    )
    assert finalize.publish(sweep, context).deployed == [print]
    assert calls == ["deploy", "report"]
    assert finalize.publish(sweep, context, KeyboardInterrupt()).deployed == ()
    assert calls == ["deploy", "report", "report"]


@pytest.mark.ci
def test_values_that_are_not_there_are_refused(refusal: Refusal) -> None:
    assert "deploy.export must be onnx | pt2 | safetensors, got tflite" in refusal(
        "deploy.export=[tflite]", "deploy.quantize=[int4]"
    )
    assert "deploy.quantize must be static | dynamic | bf16 | fp16, got int4" in refusal(
        "deploy.quantize=[int4]"
    )


def test_a_missing_package_is_refused_before_training(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "find_spec", lambda name: None)
    assert refusal("deploy=onnx_int8") == (
        "deploy must be none without the package onnx, got onnx, static;"
        " pip install 'kdsweep[deploy]'"
    )


def test_a_search_does_not_deploy(compose: Compose) -> None:
    refuse_deploy(compose())
    with pytest.raises(UserError, match=r"^deploy must be none in a search, got onnx"):
        refuse_deploy(compose("deploy=onnx"))


@pytest.mark.slow
def test_a_sweep_ends_with_the_files_of_its_best_run(command: Command) -> None:
    pytest.importorskip("onnxruntime")
    outcome = command("T=1,4", "deploy=onnx_int8", "tracking.report=true", tracking=True)
    assert outcome.code == 0, outcome.err
    best = max(outcome.rows, key=lambda row: (row["val/acc"], -row["val/loss"]))
    folder = outcome.sweep / str(best["run"]) / "deploy"
    assert {"model.onnx", "int8-static.onnx"} <= {path.name for path in folder.iterdir()}
    assert read_json(folder / "export-onnx.json")["same_class"] > 0
    assert outcome.out.index("results  ") < outcome.out.index("written  ")
    rows = {row["name"]: row for row in read_json(folder / "quantize.json")["rows"]}
    assert {*rows} == {"torch fp32", "ONNX fp32", "int8 static", "teacher"}
    assert rows["teacher"]["interval"] is not None
    section = (outcome.sweep / "report.md").read_text().partition("## The model you ship")[2]
    for name in ("teacher", "student, torch fp32", "int8 static", "model.onnx"):
        assert f"| {name} | " in section
    assert [path.parent for path in outcome.sweep.glob("*/deploy")] == [folder.parent]
