"""bf16 on hardware without arithmetic for it: which keys a warning names, and how often."""

import logging

import pytest
from commands import Compose

from kdsweep.common.notices import warn_once
from kdsweep.runs.build_specs import build_specs
from kdsweep.training import arithmetic

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
