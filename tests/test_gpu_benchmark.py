"""benchmarks/gpu.py: its tables, its experiments, and a rehearsal on the CPU."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import gpu

    return gpu


def test_a_table_has_the_ratios_of_its_rounds(benchmarks: ModuleType) -> None:
    from speed.gpu_pages import Measured, page

    row = Measured("a -> b", "fp32", images=8, batches=2)
    row.samples = {
        "loop, ready images": [0.4, 0.2],
        "lockstep 9": [0.9, 0.9],
        "floor 9": [0.6, 0.8],
    }
    row.students = {"loop, ready images": 1, "lockstep 9": 9, "floor 9": 9}
    row.failed = {"CUDA graph": "none here"}
    row.differences = {"stacked": {"largest": 1e-7, "equal": 0.5, "steps": 2}}
    text = page({"gpu": "a card", "torch": "2"}, [row], "Left out: c.")
    assert "| gpu | a card |" in text
    line = "| lockstep 9 | 9 | 450 (450..450) | 50.0 | 0.375 (0.250..0.500) | 1.31 (1.12..1.50) |"
    assert line in text
    assert "| a -> b, fp32 | 9 | 0.375 (0.250..0.500) | 1.31 (1.12..1.50) |" in text
    assert "CUDA graph is left out: none here." in text
    assert "50% of the tensors have the same bits" in text
    assert text.endswith("Left out: c.\n")


def test_stacked_students_train_as_the_loop_does_but_for_rounding(benchmarks: ModuleType) -> None:
    from speed.floor import BareStudent, ReadyBatch
    from speed.stacked import Graphed, Looped, Stacked, difference

    def students() -> list[BareStudent]:
        made = []
        for number, T in enumerate((1.0, 4.0)):
            torch.manual_seed(number)
            model = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
            )
            optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
            made.append(BareStudent(model, optimizer, T, 0.3))
        return made

    generator = torch.Generator().manual_seed(0)
    batches = [
        ReadyBatch(
            torch.randn(6, 1, 8, 8, generator=generator),
            torch.arange(6) % 3,
            torch.randn(6, 3, generator=generator),
        )
        for _ in range(3)
    ]
    assert difference(Looped(students()), Looped(students()), batches) == {
        "largest": 0.0,
        "equal": 1.0,
        "steps": 3,
    }
    found = difference(Stacked(students()), Looped(students()), batches)
    assert found["largest"] < 1e-5
    with pytest.raises(RuntimeError, match="need a CUDA device"):
        Graphed(students(), batches[0])


@pytest.mark.slow
def test_a_rehearsal_writes_every_row_and_leaves_out_what_does_not_fit(
    benchmarks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["gpu.py", "--out", str(tmp_path), "--device", "cpu", "--size", "small"]
    monkeypatch.setattr(sys, "argv", [*words, "--minutes", "0.5", "--least", "4"])
    assert benchmarks.main() == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["rows"]
    assert len(found["rows"]) == 9 or "Left out, for lack of time" in found["note"]
    for row in found["rows"]:
        assert row["samples"]["loop, DataLoader"]
    assert found["rows"][0]["work"] in (tmp_path / "gpu.md").read_text()
