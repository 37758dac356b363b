from pathlib import Path

import pytest
import torch
from pictures import panel_titles, pixels

from kdsweep.plotting.samples import draw_samples


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (11, 3)])
def test_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, channels: int
) -> None:
    titles = panel_titles(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2
    draw_samples(images, labels, ["cat", "a rather long class name"], tmp_path / "a.png")
    pixels(tmp_path / "a.png")
    assert len(titles) == count
    assert titles[0] == "cat"
