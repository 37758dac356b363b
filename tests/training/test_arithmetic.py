"""What `auto` stands for: the table of docs/precision.md."""

import pytest
import torch
from torch import nn

from kdsweep.training import arithmetic
from kdsweep.training.arithmetic import (
    NetworkKind,
    bf16_warning,
    choose_format,
    choose_precision,
    computes_bf16,
)

MLP, CONVOLUTIONS = NetworkKind(), NetworkKind(convolutions=True)
DEPTHWISE = NetworkKind(convolutions=True, depthwise=True)
FAULTY = NetworkKind(convolutions=True, fault="view size is not compatible")


@pytest.mark.parametrize(
    ("device", "has_bf16", "kind", "trained", "frozen", "memory_format"),
    [
        ("cpu", True, CONVOLUTIONS, "bf16", "bf16", "channels_last"),
        ("cpu", True, DEPTHWISE, "fp32", "bf16", "channels_last"),
        ("cpu", True, MLP, "bf16", "bf16", "contiguous"),
        ("cpu", True, FAULTY, "bf16", "bf16", "contiguous"),
        ("cpu", False, CONVOLUTIONS, "fp32", "fp32", "channels_last"),
        ("cpu", False, MLP, "fp32", "fp32", "contiguous"),
        ("cuda:1", True, CONVOLUTIONS, "bf16", "bf16", "channels_last"),
        ("cuda", True, DEPTHWISE, "bf16", "bf16", "channels_last"),
        ("cuda", True, MLP, "bf16", "bf16", "contiguous"),
        ("cuda", False, CONVOLUTIONS, "fp32", "fp32", "contiguous"),
        ("xpu", False, CONVOLUTIONS, "fp32", "fp32", "contiguous"),
    ],
)
def test_auto_follows_the_table(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    has_bf16: bool,
    kind: NetworkKind,
    trained: str,
    frozen: str,
    memory_format: str,
) -> None:
    monkeypatch.setattr(arithmetic, "computes_bf16", lambda device: has_bf16)
    for is_trained, expected in ((True, trained), (False, frozen)):
        precision = choose_precision("auto", device, kind, is_trained=is_trained)
        assert precision == expected
        assert choose_format("auto", device, precision, kind) == memory_format


def test_what_is_named_is_kept() -> None:
    for name in ("fp32", "bf16"):
        assert choose_precision(name, "cpu", DEPTHWISE, is_trained=True) == name
    for name in ("contiguous", "channels_last"):
        assert choose_format(name, "cpu", "fp32", FAULTY) == name
    assert choose_format("auto", "cuda", "fp32", CONVOLUTIONS) == "contiguous"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), MLP),
        (nn.Conv2d(2, 4, 3), CONVOLUTIONS),
        (nn.Conv2d(4, 4, 3, groups=4), DEPTHWISE),
        (nn.Conv2d(4, 4, 3, groups=2), CONVOLUTIONS),
        (nn.Conv2d(1, 4, 3, groups=1), CONVOLUTIONS),
        (nn.Conv1d(2, 4, 3), MLP),
    ],
)
def test_the_kind_of_a_network(model: nn.Module, kind: NetworkKind) -> None:
    assert NetworkKind.of(model) == kind


def test_networks_that_share_a_format_have_one_kind() -> None:
    assert NetworkKind.of_all([MLP, MLP]) == MLP
    assert NetworkKind.of_all([MLP, DEPTHWISE, CONVOLUTIONS]) == DEPTHWISE
    assert NetworkKind.of_all([CONVOLUTIONS, FAULTY]) == FAULTY


@pytest.mark.parametrize("name", [*arithmetic.CPU_BF16, "avx512_f"])
def test_a_cpu_computes_bf16_with_one_of_the_instruction_sets(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True}, raising=False)
    assert computes_bf16("cpu") == (name in arithmetic.CPU_BF16)
    assert not computes_bf16("xpu")


@pytest.mark.parametrize(("capability", "found"), [((8, 0), True), ((9, 0), True), ((7, 5), False)])
def test_a_card_computes_bf16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], found: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert computes_bf16("cuda:0") is found


def test_a_warning_about_another_device_has_no_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    text = bf16_warning("trainer.precision", "cuda", CONVOLUTIONS, "contiguous")
    assert text == (
        "trainer.precision=bf16 is emulated on cuda, which has no arithmetic for it: fp32 is faster"
        " in most cases"
    )
