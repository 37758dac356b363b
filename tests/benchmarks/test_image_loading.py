"""benchmarks/image_loading.py: the loaders yield batches of the same images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(3):
        pixels = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(tmp_path / f"{number}.jpg")
    return tmp_path


@pytest.mark.slow
def test_loaders_yield_the_same_images(
    load: Any, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    script = load("image_loading")
    monkeypatch.setattr(script, "LINKS", 1)
    root = tmp_path / "root"
    script.make_images(photographs, root / "train", 24)
    options = script._options(["--data", str(root), "--size", "64", "--batch-size", "8"])
    options.workers = 1
    of_folder = script.datasets.ImageFolder(str(root / "train"))
    epochs = [
        list(loader(0))
        for loader in (
            script.of_kdsweep(root, 24, options, draft=False),
            script.of_kdsweep(root, 24, options, draft=True),
            script.of_timm(root, 24, options),
            script.of_torchvision(of_folder, 24, options),
        )
    ]
    means = []
    for epoch in epochs:
        assert [tuple(batch.shape) for batch in epoch] == [(8, 3, 64, 64)] * 3
        means.append(torch.cat(epoch).mean(dim=(1, 2, 3)).sort().values)
    for others in means[1:]:
        # They round the crop in their own ways, and draft gives other pixels.
        torch.testing.assert_close(others, means[0], atol=0.05, rtol=0)


def test_ratio_is_to_the_better_of_the_others(load: Any) -> None:
    script = load("image_loading")
    samples = {"kdsweep": [1.0, 1.0], "timm": [2.0, 1.5], "torchvision": [1.2, 3.0]}
    found = script.against_better(samples, "kdsweep")
    assert (found.low, found.high) == (1.2, 1.5)
