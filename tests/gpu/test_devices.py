"""Sweeps on two devices: the bits of a run alone, with every kind of teacher, and resuming."""

import multiprocessing

import pytest
import torch
from commands import Command
from outcomes import both, digests, interrupt


@pytest.fixture
def two(device: str) -> list[str]:
    """The words of a sweep on two devices."""
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("there are no two GPUs")
    return [f"trainer.device={device}", "trainer.devices=2", "student=cnn", "trainer.grad_clip=1"]


@pytest.mark.parametrize(
    "words",
    [
        ["loss=kl,crd"],
        ["loss=[kl,fitnet]", "stages=hints", "stages.hints.epochs=1", "T=1,4"],
        ["teacher=peers", "T=1,4"],
        ["teacher.online=true", "loss=ce,kl"],
        ["loss=mlkd,kl", "dataset.augment.strong_view=1", "trainer.sync_batchnorm=true"],
    ],
    ids=["memory", "stages", "peers", "online", "strong view"],
)
def test_lockstep_gives_the_bits_of_separate_runs(
    command: Command, two: list[str], own_teachers: str, words: list[str]
) -> None:
    together, alone = both(command, *two, own_teachers, *words)
    assert together == alone


def test_an_interrupted_sweep_resumes_to_the_same_bits(
    command: Command, two: list[str], own_teachers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*two, own_teachers, "T=1,4", "tracking.checkpoint_seconds=0"]
    whole = digests(command(*words, "hydra.sweep.dir=multirun/whole"))
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=1, seed=0)
        assert command(*words, "hydra.sweep.dir=multirun/parts").code == 130
    assert multiprocessing.active_children() == []
    resumed = command(*words, "hydra.sweep.dir=multirun/parts", "resume=true", tracking=True)
    assert digests(resumed) == whole
