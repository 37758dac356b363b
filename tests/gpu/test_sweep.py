"""Whole sweeps on the device, through the command line, with MLflow."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command
from outcomes import both, digests, interrupt, runs
from PIL import Image

from kdsweep.common.files import read_json


def on(device: str) -> list[str]:
    return [f"trainer.device={device}", f"teacher.trainer.device={device}"]


def test_a_sweep_with_mlflow_ends_with_weights_of_the_device(
    command: Command, device: str, own_teachers: str
) -> None:
    words = [*on(device), own_teachers, "student=cnn", "T=1,4", "loss=kl,[kl,fitnet]"]
    outcome = command(*words, "trainer.precision=auto", tracking=True)
    assert outcome.code == 0, outcome.err
    assert {row["status"] for row in outcome.rows} == {"FINISHED"}
    assert len(outcome.rows) == len(runs(outcome)["run"]) == 4
    result = read_json(outcome.sweep / "0" / "result.json")
    assert result["provenance"]["environment"]["device"].startswith(device)


@pytest.mark.parametrize(
    "words",
    [
        ["T=1,4,16", "alpha=0.1,0.9"],
        ["student=cnn", "trainer.precision=bf16", "loss=kl,[crd,at]"],
        ["student=cnn", "loss=kl,mlkd", "dataset.augment.strong_view=2", "optimizer=sgd"],
    ],
)
def test_lockstep_gives_the_bits_of_separate_runs(
    command: Command, device: str, own_teachers: str, words: list[str]
) -> None:
    together, alone = both(command, *on(device), own_teachers, *words)
    assert together == alone


def test_a_run_is_the_same_again(command: Command, device: str, own_teachers: str) -> None:
    words = [*on(device), own_teachers, "student=cnn", "loss=ofd", "trainer.precision=bf16"]
    first = digests(command(*words))
    assert digests(command(*words, "hydra.sweep.dir=multirun/again")) == first


def test_images_on_disk_are_read_by_other_processes(
    command: Command, device: str, own_teachers: str, tmp_path: Path
) -> None:
    draws = np.random.default_rng(0)
    for number in range(120):
        folder = tmp_path / "pictures" / "train" / f"class{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/pictures", "dataset.test_fraction=.2"]
    words = [*on(device), own_teachers, *data, "student=cnn", "T=1,4", "trainer.batch_size=16"]
    memory = digests(command(*words))
    disk = command(*words, "dataset.source.memory_gib=1e-6", "hydra.sweep.dir=multirun/disk")
    assert digests(disk) == memory


@pytest.mark.gpu
def test_a_cohort_that_does_not_fit_into_memory_is_halved_to_the_same_bits(
    command: Command, own_teachers: str
) -> None:
    """Two students fit, four do not: the limit is between what both have needed."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    # About 270 MiB a student, with the optimizer's state.
    words = [*on("cuda"), own_teachers, "student.model.width=4096", "trainer.epochs=1"]

    def peak(*jobs: str) -> tuple[int, dict[str, str]]:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        found = digests(command(*words, *jobs, f"hydra.sweep.dir=multirun/{len(jobs[0])}"))
        return torch.cuda.max_memory_reserved(), found

    two, _ = peak("T=1,2")
    four, whole = peak("T=1,2,4,8")
    assert four > two + 2**28
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((two + four) / 2 / total)
    try:
        halved = command(*words, "T=1,2,4,8", "hydra.sweep.dir=multirun/halved", tracking=True)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "4 students do not fit into memory, 2 at a time now" in halved.err
    assert digests(halved) == whole
    assert {run.info.status for run in runs(halved)["run"]} == {"FINISHED"}


def test_an_interrupted_run_resumes_to_the_same_bits(
    command: Command, device: str, own_teachers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*on(device), own_teachers, "T=1,4", "tracking.checkpoint_seconds=0"]
    whole = digests(command(*words, "hydra.sweep.dir=multirun/whole"))
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=1, seed=0)
        assert command(*words, "hydra.sweep.dir=multirun/parts").code == 130
    resumed = command(*words, "hydra.sweep.dir=multirun/parts", "resume=true")
    assert digests(resumed) == whole
