from pathlib import Path

import pytest
import torch
from pictures import cell_texts, pixels

from kdsweep.plotting.samples import draw_samples


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (11, 3)])
def test_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, channels: int
) -> None:
    texts = cell_texts(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2
    draw_samples(images, labels, ["cat", "a rather long class name"], tmp_path / "a.png")
    pixels(tmp_path / "a.png")
    names = [text.partition(": ")[2] for text in texts]
    assert names == ["cat", "a rather long…"] * (count // 2) + ["cat"] * (count % 2)
