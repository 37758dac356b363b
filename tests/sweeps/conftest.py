"""What the tests of sweeps share: runs composed without the command line, a folder of images."""

from pathlib import Path

import numpy as np
import pytest
from commands import TINY, Compose, Specs, overrides
from PIL import Image

from kdsweep.config.overrides import swept_keys
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec


@pytest.fixture
def specs(compose: Compose, teachers: Path) -> Specs:
    """`specs(["T=1"], ["T=4"])`: the runs that `command` makes of these jobs."""

    def built(*jobs: list[str]) -> list[RunSpec]:
        small = [[word for word in TINY if not overrides(tuple(job), word)] for job in jobs]
        store = f"teacher.store={teachers}"
        configs = [compose(store, *base, *job) for base, job in zip(small, jobs, strict=True)]
        return build_specs(configs, jobs, 0, swept_keys(jobs))

    return built


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of JPEG files of 24 x 20 pixels, for no test to change."""
    generator = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data") / "images"
    for part, count in (("train", 12), ("test", 4)):
        for name in ("cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02}.jpg")
    return root
