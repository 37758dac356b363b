"""The settings for deterministic kernels; none of them needs a device to be set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from toys import make_student, train

from kdsweep.training import trainer
from kdsweep.training.determinism import CUBLAS, deterministic_kernels


@pytest.fixture(autouse=True)
def _cublas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS, "")  # for it to be as before after the test
    monkeypatch.delenv(CUBLAS)


def settings() -> dict[str, object]:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {
        "mode": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "cudnn": (cudnn.deterministic, cudnn.benchmark),
        "float32": (cuda.matmul.fp32_precision, cudnn.fp32_precision),
        "layers": (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision),
        "fused attention": (
            cuda.flash_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
            cuda.cudnn_sdp_enabled(),
        ),
        "plain attention": cuda.math_sdp_enabled(),
    }


WANTED = {
    "mode": 1,  # warn
    "fill": False,
    "cudnn": (True, False),
    "float32": ("ieee", "ieee"),
    "layers": ("ieee", "ieee"),
    "fused attention": (False, False, False),
    "plain attention": True,
}


def test_on_cuda_kernels_are_deterministic_and_what_was_set_is_restored() -> None:
    before = settings()
    assert before != WANTED
    with deterministic_kernels("cuda"):
        assert settings() == WANTED
        assert os.environ[CUBLAS] == ":4096:8"
    assert settings() == before


def test_layers_work_with_them() -> None:
    """PyTorch raises where the older and the newer name of a setting are at odds and it reads both.

    A convolution reads those of cuDNN on the CPU, too.
    """
    layer = torch.nn.Conv2d(1, 2, 3)
    with deterministic_kernels("cuda"):
        layer(torch.ones(1, 1, 4, 4)).sum().backward()
    assert layer.weight.grad is not None


@pytest.fixture
def _other_precisions() -> Iterator[None]:
    """As a caller may have set them, in the older way and in the newer one."""
    names = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [(owner, owner.fp32_precision) for owner in names]
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True
    for owner, precision in before:
        owner.fp32_precision = precision


@pytest.mark.usefixtures("_other_precisions")
def test_precisions_that_were_set_by_their_older_names_are_restored() -> None:
    before = settings()
    with deterministic_kernels("cuda"):
        assert settings() == WANTED
    assert settings() == before
    assert not torch.backends.cudnn.allow_tf32  # raises where the two names are at odds
    assert torch.backends.cuda.matmul.allow_tf32


def test_other_settings_of_the_caller_are_restored_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv(CUBLAS, ":16:8")
    before = settings()
    with deterministic_kernels("cuda:0"), deterministic_kernels("cuda"):
        assert settings() == WANTED
    assert settings() == before
    assert os.environ[CUBLAS] == ":16:8"


def test_on_the_cpu_nothing_is_set() -> None:
    before = settings()
    with deterministic_kernels("cpu"):
        assert settings() == before
    assert CUBLAS not in os.environ


def test_a_training_has_them_for_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @contextmanager
    def recording(device: torch.device) -> Iterator[None]:
        seen.append(f"{device} begins")
        yield
        seen.append(f"{device} ends")

    monkeypatch.setattr(trainer, "deterministic_kernels", recording)
    train([make_student()], epochs=1)
    assert seen == ["cpu begins", "cpu ends"]
