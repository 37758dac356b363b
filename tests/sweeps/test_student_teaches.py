"""A distilled student of one sweep is the teacher of the next."""

import json

import pytest
from commands import Command
from omegaconf import OmegaConf

STUDENT = ["student=cnn", "student.model.width=4"]


@pytest.mark.slow
def test_the_best_student_of_a_sweep_teaches_the_next_sweep(command: Command) -> None:
    first = command(*STUDENT, "T=1,4")
    assert first.code == 0, first.err
    best = max(first.rows, key=lambda row: (row["val/acc"], -row["val/loss"]))
    folder = first.sweep.relative_to(first.folder)
    file = f"{folder}/{best['run']}/checkpoint/model.safetensors"
    second = command(f"teacher.checkpoint={folder}/best", "T=2")
    assert second.code == 0, second.err
    assert f"teacher.checkpoint: {folder}/best is {folder}/{best['run']}, {best['name']}" in (
        second.out
    )
    assert f"teacher cnn: val {100 * best['val/acc']:.1f} %" in second.err
    run = json.loads((second.sweep / "0" / "run.json").read_text())
    assert OmegaConf.load(second.sweep / "0" / "config.yaml").teacher.checkpoint == file
    by_file = command(f"teacher.checkpoint={file}", "T=2", "dry_run=true")
    assert run["fingerprint"] in by_file.out


@pytest.mark.slow
def test_a_student_in_mlflow_by_its_id(command: Command) -> None:
    first = command(*STUDENT, "loss=ce", tracking=True)
    assert first.code == 0, first.err
    run_id = first.rows[0]["mlflow_run_id"]
    first.sweep.rename(first.folder / "moved")  # only MLflow has it under this id
    second = command(f"teacher.checkpoint=runs:/{run_id}", "T=2", tracking=True)
    assert second.code == 0, second.err
    assert f"/downloads/{run_id}" in second.out
    assert second.rows[0]["status"] == "FINISHED"
