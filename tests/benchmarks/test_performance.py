"""benchmarks/performance.py: its options, and what it measures."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from bench_results import on_request, results


@pytest.fixture
def script(load: Any) -> Any:
    return load("performance")


def test_parts_are_added_to_known_results_of_the_same_machine(script: Any) -> None:
    new = {key: results()[key] for key in ("machine", "extent")} | {"steps": {}} | on_request()
    new["seconds"] = {"many": 5, "against": 6}
    new["extent"] = {**new["extent"], "command_rounds": 2}  # of theirs only
    merged = script.added(results(), new)
    assert merged["steps"] == results()["steps"]
    assert merged["seconds"] == {**results()["seconds"], "many": 5, "against": 6}
    assert merged["many"] == new["many"]
    assert merged["extent"] == results()["extent"]
    with pytest.raises(SystemExit, match="--add requires the same extent"):
        script.added(results(), {**new, "seconds": {"starts": 5}})
    new["machine"] = {**new["machine"], "cpu": "Another CPU"}
    with pytest.raises(SystemExit, match="--add requires the same machine"):
        script.added(results(), new)


def test_parts_on_request_are_measured_if_what_they_need_is_given(script: Any) -> None:
    assert script.parse_options([]).only == list(script.PARTS)
    options = script.parse_options(["--many", "500", "--against", "old"])
    assert options.only == [*script.PARTS, "many", "against"]


def test_what_was_not_measured_has_no_table_and_no_bound(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {key: value for key, value in results().items() if key in ("machine", "extent")}
    part |= {"steps": {}, "starts": results()["starts"], "seconds": {"starts": 1}}
    assert script.show(part) == 0
    out = capsys.readouterr().out
    assert "digits, warm" in out
    assert "lockstep" not in out


def test_the_exit_code_is_that_of_the_bounds(script: Any) -> None:
    assert script.show(results()) == script.MISSED != 0


def test_the_machine_is_described_without_its_name(load: Any) -> None:
    described = load("speed.machine").describe_machine("cpu", 1)
    assert {"cpu", "instructions", "cores", "threads", "torch"} <= set(described)
    text = " ".join(described.values())
    assert platform.node() not in text
    assert str(Path.home()) not in text


def test_a_limit_on_instructions_is_described(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = load("speed.machine")
    monkeypatch.setattr(machine, "computes_bf16", lambda device: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert machine.has_bf16_arithmetic()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not machine.has_bf16_arithmetic()
    assert machine.instructions().endswith("ONEDNN_MAX_CPU_ISA=AVX2")
    works, settings = load("speed.cohorts").WORKS, load("speed.step_times").settings
    names = {key: [row.name for row in settings(work)] for key, work in works.items()}
    assert names["vgg"] == ["fp32 contiguous", "fp32 auto"]
    assert names["resnet"] == names["digits"] == ["fp32 auto"]


def test_the_time_is_estimated_from_the_last_results(script: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results()))
    options = script.parse_options(["--only", "vgg,sweeps", "--rounds", "8", "--batches", "4"])
    expected = "about 10 minutes, if this machine is a Made CPU, too"  # 60 s x 3 x 2 + 60 s x 4
    assert script.estimate(path, options) == expected
    assert "no results" in script.estimate(tmp_path / "none.json", options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "vgg,x"], "sweeps,workers,memory,many,against, got x"),
        (["--only", "many"], "--many must be given for this part"),
        (["--many", "65"], "--many must be a multiple of 10 above 60, got 65"),
        (["--command-rounds", "0"], "--command-rounds must be at least 1, got 0"),
        (["--alone", "10"], "--alone must be from 1 to 9, got 10"),
    ],
)
def test_options_out_of_range(
    script: Any, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        script.parse_options(words)
    assert message in capsys.readouterr().err


def test_the_files_of_a_sweep(load: Any, tmp_path: Path) -> None:
    costs = load("speed.sweep_costs")
    for name, seconds in {"0": 1.0, "1": 1.0, "teacher-ab": 9.0}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"seconds": seconds}))
    assert len(costs.run_folders(tmp_path)) == 2
    assert costs.training_seconds(tmp_path) == 1.0
    assert costs.bytes_below(tmp_path) == 3 * len('{"seconds": 1.0}')
    for runs in (costs.FEW, costs.RUNS, 500):
        counts = [len(set(word.split("=")[1].split(","))) for word in costs.grid_words(runs)]
        assert counts[0] * counts[1] == runs


@pytest.mark.slow
def test_a_command_ends_after_its_first_step(load: Any, tmp_path: Path) -> None:
    commands = load("speed.commands")
    words = ("dataset=fake", "teacher=none", "loss=ce", "tracking=none", "trainer.epochs=1000000")
    commands.run_python((commands.FIRST_STEP, *words), tmp_path)
    assert not list(tmp_path.glob("multirun/**/result.json"))
    with pytest.raises(RuntimeError, match="T must be"):
        commands.run_python((commands.FIRST_STEP, *words, "loss=kl", "T=0"), tmp_path)
