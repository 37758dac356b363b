"""Compiled training: the bits of a student alone, in lockstep and resumed; eager evaluation."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Refusal
from toys import BATCH, SHAPE, make_student, train

from kdsweep.builders import students
from kdsweep.common import pacing
from kdsweep.training import compilation
from kdsweep.training.checkpoint import Saved, load_latest, save, sha256
from kdsweep.training.compilation import CompiledForward, compiler_fault
from kdsweep.training.student import Student

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
RECIPES: list[dict[str, Any]] = [
    {"T": 1.0},
    {"T": 4.0},
    {"model": "cnn", "dropout": 0.5, "accumulate": 2, "ema": 0.5},
]


def compiled(**recipe: Any) -> Student:
    student = make_student(**recipe)
    student.network.run_in_training = CompiledForward(student.model, threads=1)
    return student


@needs_compiler
@pytest.mark.slow
def test_compiled_students_have_their_bits_alone_in_lockstep_and_resumed(tmp_path: Path) -> None:
    together = [compiled(**recipe) for recipe in RECIPES]
    train(together)
    assert [student.failure for student in together] == [None] * len(RECIPES)
    for recipe, student in zip(RECIPES, together, strict=True):
        alone, first, second = (compiled(**recipe) for _ in range(3))
        torch._dynamo.reset()  # as in another process
        train([alone])
        assert sha256(alone.model) == sha256(student.model), recipe
        assert sha256(alone.reported) == sha256(student.reported), recipe
        torch._dynamo.reset()
        train([first], epochs=1)
        save(tmp_path, first, "mark")
        torch._dynamo.reset()
        assert load_latest([Saved(tmp_path, second, "mark")])
        train([second])
        assert sha256(second.model) == sha256(alone.model), recipe


@needs_compiler
@pytest.mark.slow
def test_compiled_training_is_the_same_up_to_rounding() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    one, other = compiled(model="cnn"), make_student(model="cnn")
    found, expected = train([one], epochs=1), train([other], epochs=1)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == 2, "one for each size of a batch; evaluation is not compiled"
    assert list(one.model.state_dict()) == list(other.model.state_dict())
    assert found[-1]["train/loss"] == pytest.approx(expected[-1]["train/loss"], rel=1e-4)


@needs_compiler
@pytest.mark.slow
def test_each_shape_is_compiled_once_with_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    began: list[str] = []
    lines = compilation.lines_while

    def recorded(what: str) -> Any:
        began.append(what)
        return lines(what)

    monkeypatch.setattr(compilation, "lines_while", recorded)
    monkeypatch.setattr(pacing, "FIRST_SECONDS", 0.01)
    with caplog.at_level(logging.INFO):
        train([compiled()])
    shapes = [f"{count} x {' x '.join(map(str, SHAPE))}" for count in (BATCH, 8)]
    assert began == [f"compiling a network for batches of {shape}" for shape in shapes]


@needs_compiler
@pytest.mark.slow
def test_there_is_a_compiler_and_without_one_the_reason_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert compiler_fault.__wrapped__("cpu") is None
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    with inductor.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        reason = compiler_fault.__wrapped__("cpu")
    assert reason is not None
    assert "\n" not in reason
    assert "compiler" in reason.lower()


def test_without_a_compiler_it_is_refused(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "compiler_fault", lambda kind: "No working C++ compiler found")
    assert (
        "trainer.compile must be false on cpu without a compiler that torch.compile can use (No"
        " working C++ compiler found), got true"
    ) in " ".join(refusal("trainer.compile=true", "trainer.device=cpu").split())
