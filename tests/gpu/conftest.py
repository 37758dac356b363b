"""The device of each test: a CUDA device where there is one, and the CPU in the slow tier.

So what runs on a GPU is rehearsed on every machine: `pytest -m gpu`, `pytest -m slow tests/gpu`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch

from kdsweep.training.determinism import deterministic_kernels

NotWaiting = Callable[[], AbstractContextManager[None]]


@pytest.fixture(
    params=[
        pytest.param("cuda", marks=pytest.mark.gpu),
        pytest.param("cpu", marks=pytest.mark.slow),
    ]
)
def device(request: pytest.FixtureRequest) -> str:
    """`cuda` or `cpu`."""
    kind: str = request.param
    if kind == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return kind


@pytest.fixture
def kernels(device: str) -> Iterator[None]:
    """Those that training has on the device."""
    with deterministic_kernels(device):
        yield


@pytest.fixture
def not_waiting(device: str) -> NotWaiting:
    """`with not_waiting():` raises where the host waits for the device; rehearsed on the CPU."""

    @contextmanager
    def watched() -> Iterator[None]:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return watched if device == "cuda" else nullcontext
