from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import cell_texts, pixels

from kdsweep.plotting.confusion import draw_confusion


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_the_counts_are_written_row_by_true_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    texts = cell_texts(monkeypatch)
    draw_confusion(make([[5, 2], [0, 7]]), ["cat", "a [long] $name"], tmp_path / "a.png", "test")
    assert set(texts) == {"0,0: 5", "1,0: 2", "1,1: 7"}
    pixels(tmp_path / "a.png")


@pytest.mark.ci
def test_counts_of_many_classes_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = cell_texts(monkeypatch)
    draw_confusion(np.eye(41), [f"class {i}" for i in range(41)], tmp_path / "a.png")
    assert not texts
    pixels(tmp_path / "a.png")
