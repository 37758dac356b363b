"""What `auto` stands for in a run, and the warning of bf16 on hardware without it."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from commands import Compose
from torch import nn

from kdsweep.builders import arithmetic as resolving
from kdsweep.builders.arithmetic import network_kind
from kdsweep.common.notices import warn_once
from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.training import arithmetic
from kdsweep.training.arithmetic import NetworkKind

MEMBERS = "teacher=ensemble"
CASES: list[tuple[list[str], list[str]]] = [
    (["trainer.precision=auto"], []),
    (["trainer.precision=fp32"], []),
    (["trainer.precision=bf16", "student=mlp"], ["trainer.precision"]),
    (["teacher.precision=bf16"], ["teacher.precision"]),
    (["teacher.trainer.precision=bf16"], ["teacher.trainer.precision"]),
    ([MEMBERS, "teacher.members.first.precision=bf16"], ["teacher.members.first.precision"]),
    (
        [MEMBERS, "teacher.members.second.trainer.precision=bf16"],
        ["teacher.members.second.trainer.precision"],
    ),
    (["teacher=peers", "trainer.precision=bf16"], ["trainer.precision"]),
    (["teacher.online=true", "teacher.trainer.precision=bf16"], ["teacher.trainer.precision"]),
]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "computes_bf16", lambda device: False)
    warn_once.cache_clear()


def warned(compose: Compose, caplog: pytest.LogCaptureFixture, words: list[str]) -> list[str]:
    jobs = [[*words, "T=1"], [*words, "T=4"]]
    with caplog.at_level(logging.WARNING):
        build_specs([compose("dataset=fake", *job) for job in jobs], jobs, 0, ())
    return [r.getMessage() for r in caplog.records if "bf16 is emulated" in r.getMessage()]


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(("words", "keys"), CASES)
def test_a_warning_names_the_key_that_sets_bf16(
    compose: Compose, caplog: pytest.LogCaptureFixture, words: list[str], keys: list[str]
) -> None:
    warnings = warned(compose, caplog, words)
    assert sorted({text.partition("=")[0] for text in warnings}) == keys
    assert len(set(warnings)) == len(warnings)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_warning_has_the_factor_of_the_memory_format(
    compose: Compose, caplog: pytest.LogCaptureFixture, memory_format: str
) -> None:
    factor = arithmetic.SLOWER_IN_BF16[True, memory_format]
    words = ["teacher.precision=bf16", f"teacher.memory_format={memory_format}"]
    (text,) = warned(compose, caplog, words)
    assert text.startswith("teacher.precision=bf16 is emulated on cpu")
    assert f"({memory_format}) takes about {factor:g} times as long" in text
    assert "AVX2 CPU" in text


def test_hardware_with_bf16_is_not_warned_of(
    compose: Compose, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "computes_bf16", lambda device: True)
    warn_once.cache_clear()
    assert warned(compose, caplog, ["trainer.precision=bf16"]) == []


def spec_of(compose: Compose, *words: str) -> RunSpec:
    (spec,) = build_specs([compose("dataset=fake", *words)], [words], 0, ())
    return spec


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "computes_bf16", lambda device: True)


AUTO = ["trainer.device=cpu", "trainer.precision=auto", "trainer.memory_format=auto"]


@pytest.mark.usefixtures("with_bf16")
@pytest.mark.parametrize(
    ("student", "memory_format"), [("mlp", "contiguous"), ("cnn", "channels_last")]
)
def test_auto_is_resolved_by_the_network_of_the_run_and_is_the_run_that_names_it(
    compose: Compose, student: str, memory_format: str
) -> None:
    words = ["trainer.device=cpu", f"student={student}"]
    auto = spec_of(compose, *AUTO, f"student={student}")
    trainer = auto.config.trainer
    assert (trainer.precision, trainer.memory_format) == ("bf16", memory_format)
    teacher = auto.config.teacher  # a cnn, with the precision of the trainer
    assert (teacher.precision, teacher.memory_format) == ("bf16", "channels_last")
    named = [*words, "trainer.precision=bf16", f"trainer.memory_format={memory_format}"]
    assert spec_of(compose, *named).fingerprint == auto.fingerprint
    other = [*words, "trainer.precision=fp32", f"trainer.memory_format={memory_format}"]
    assert spec_of(compose, *other).fingerprint != auto.fingerprint


@pytest.mark.usefixtures("emulated")
def test_auto_is_fp32_on_a_cpu_without_bf16(compose: Compose) -> None:
    config = spec_of(compose, *AUTO, "student=cnn").config
    assert (config.trainer.precision, config.trainer.memory_format) == ("fp32", "channels_last")
    assert (config.teacher.precision, config.teacher.memory_format) == ("fp32", "channels_last")


@pytest.mark.usefixtures("with_bf16")
def test_a_frozen_teacher_and_each_member_have_their_own(compose: Compose) -> None:
    base = ["trainer.device=cpu"]
    teacher = spec_of(compose, *base, "teacher.precision=auto").config.teacher
    assert teacher.precision == "bf16"
    first = ["teacher.members.first.precision=fp32", "teacher.memory_format=contiguous"]
    ensemble = spec_of(compose, *base, MEMBERS, "teacher.precision=auto", *first).config.teacher
    found = {name: (m.precision, m.memory_format) for name, m in ensemble.members.items()}
    assert found == {"first": ("fp32", "contiguous"), "second": ("bf16", "contiguous")}


class Viewing(nn.Module):
    """Its forward pass fails on maps in channels_last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(2 * 32 * 32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(images).view(len(images), -1))
        return logits


@pytest.fixture
def unknown_kinds() -> Iterator[None]:
    """No network has been looked at yet, nor has any afterwards."""
    resolving._network_kind.cache_clear()
    yield
    resolving._network_kind.cache_clear()


@pytest.fixture
def built(unknown_kinds: None, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The nodes of networks that are built to look at; each is a `Viewing`."""
    nodes: list[dict[str, Any]] = []
    monkeypatch.setattr(
        resolving, "build_model", lambda node, *_, **__: nodes.append(node) or Viewing()
    )
    return nodes


def test_a_network_is_looked_at_without_download_on_the_first_shape_that_it_takes(
    built: list[dict[str, Any]],
) -> None:
    state = torch.random.get_rng_state()
    kind = network_kind({"_target_": "of.a.user", "weights": "DEFAULT", "pretrained": True})
    assert kind.convolutions
    assert kind.fault is not None
    assert "view" in kind.fault
    looked_at = {"_target_": "of.a.user", "weights": None, "pretrained": False}
    assert built == [looked_at] * 2  # 224 x 224 fails, 32 x 32 does not
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.usefixtures("unknown_kinds")
def test_a_network_that_cannot_be_built_has_no_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: Any, **__: Any) -> nn.Module:
        raise UserError("student.model.width must be at least 1, got 0")

    monkeypatch.setattr(resolving, "build_model", failing)
    assert network_kind({"_target_": "of.a.user"}) == NetworkKind()


@pytest.mark.parametrize(
    ("words", "key", "network"),
    [
        (["trainer.memory_format=channels_last"], "trainer.memory_format", "student"),
        (["teacher.memory_format=channels_last"], "teacher.memory_format", "teacher"),
    ],
)
def test_channels_last_is_refused_for_a_network_that_fails_in_it(
    compose: Compose, built: list[dict[str, Any]], words: list[str], key: str, network: str
) -> None:
    auto = spec_of(compose, "trainer.device=cpu").config
    assert auto.trainer.memory_format == auto.teacher.memory_format == "contiguous"
    with pytest.raises(UserError) as refused:
        spec_of(compose, *words)
    assert str(refused.value).startswith(
        f"{key} must be auto or contiguous with a {network}.model whose forward pass fails on"
        " images in channels_last (view"
    )
    assert str(refused.value).endswith("), got channels_last")
