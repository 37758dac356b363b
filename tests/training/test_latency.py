"""The latency of a forward pass."""

import pytest
import torch
from torch import Tensor, nn

from kdsweep.training import latency


class Network(nn.Module):
    """Records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.calls: list[tuple[bool, bool, torch.Size]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled(), images.shape))
        logits: Tensor = self.linear(images.flatten(1))
        return logits


class Student:
    """As much of a student as is measured."""

    def __init__(self) -> None:
        self.model = Network().train()

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


def test_the_median_of_some_forwards_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.001, 1.0, 1.005, 2.0, 2.002])  # 1, 5 and 2 milliseconds
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(latency, "REPEATS", 3)
    student = Student()
    measured = latency.latency_ms(student, torch.zeros(1, 1, 2, 2))  # type: ignore[arg-type]
    assert measured == pytest.approx(2.0)
    assert student.model.calls == [(False, False, torch.Size([1, 1, 2, 2]))] * 6
    assert student.model.training


def test_a_slow_network_is_measured_fewer_times(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))  # a second a forward
    monkeypatch.setattr(latency.time, "perf_counter", lambda: float(next(ticks)))
    student = Student()
    assert latency.latency_ms(student, torch.zeros(1, 1, 2, 2)) == 1000.0  # type: ignore[arg-type]
    assert len(student.model.calls) == latency.WARM_UP + 1
