"""Classes of any name go through a whole sweep, and a picture that fails costs a warning."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

NAMES = (b"$x^{$", b"a\xffb", b"back\\slash", b"50%{x}", b"<b>&lt;", "日本".encode(), b"x" * 200)
WORDS = ("loss=ce,kl", "T=1,2", "dataset=image_folder", "dataset.root=images", "-m")


@pytest.fixture
def root(tmp_path):
    generator = np.random.default_rng(0)
    for part, count in ((b"train", 6), (b"test", 2)):
        for name in NAMES:
            folder = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"images", part, name))
            os.makedirs(folder)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(os.path.join(folder, f"{number}.png"))


@pytest.mark.slow
def test_names_of_any_letters_reach_every_page_and_picture(command, root):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = ("tracking.plots=run", "tracking.report=true", "trainer.batch_size=16")
        outcome = command(*WORDS, *words, tracking=True)
    assert outcome.code == 0, outcome.err
    assert "could not be" not in outcome.err + outcome.out
    assert (outcome.sweep / "samples.png").is_file()
    assert (outcome.sweep / "0" / "confusion.png").is_file()
    page = (outcome.sweep / "report.html").read_text(encoding="utf-8")
    assert "could not be made" not in page.partition("<script")[0] + page.rpartition("</script")[2]
    assert "<b>&lt;" not in page  # as markup; escaped it reads &lt;b&gt;&amp;lt;
    assert "a\\udcffb" in page
