"""`kdsweep demo` in a real browser."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from commands import Command, Outcome
from pages import expect, visit
from PIL import Image
from servers import serving

import kdsweep

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

# Not among the locked packages: it needs an older Pillow than they have.
pytest.importorskip("gradio", reason="needs kdsweep[demo]")

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def sweep(command: Command) -> Outcome:
    outcome = command("T=4")
    assert outcome.code == 0, outcome.err
    return outcome


def bars(page: "Page", role: str) -> list[float]:
    texts = page.locator(f".kd td.{role} span").all_inner_texts()
    return [float(text.removesuffix(" %")) for text in texts]


def test_an_image_is_classified_by_both_networks(sweep: Outcome, browser: "Browser") -> None:
    picture = sweep.folder / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    expected = kdsweep.load(sweep.sweep / "0").predict(picture)[0]
    demo = [sys.executable, "-m", "kdsweep", "demo", str(sweep.sweep / "0")]
    with serving(demo, sweep.folder) as address:
        page = visit(browser, "about:blank")
        elsewhere: list[str] = []

        def note(request: "Request") -> None:
            if not request.url.startswith((address, "blob:", "data:")):
                elsewhere.append(request.url)

        page.on("request", note)
        page.goto(address)
        expect(page.get_by_text("Drop an image")).to_be_visible()
        page.locator("input[type=file]").set_input_files(picture)
        student = page.locator(".kd th.student")
        expect(student.locator(".kd-label")).to_have_text(expected.label)
        expect(student).to_contain_text(re.compile(r"\d ms\s*[\d,]+ parameters"))
        expect(page.locator(".kd th.teacher .kd-label")).to_be_visible()
        assert max(bars(page, "student")) == pytest.approx(100 * expected.probability, abs=0.01)
        cold = bars(page, "teacher")
        assert sum(cold) == pytest.approx(100, abs=0.1)

        slider = page.get_by_label("number input for temperature T")
        slider.fill("16")
        slider.press("Enter")
        expect(page.get_by_text("At T = 16")).to_be_visible()
        hot = bars(page, "teacher")
        assert max(hot) < max(cold), "the softmax of logits / T is flatter"
        assert sum(hot) == pytest.approx(100, abs=0.1)

        broken = Path(sweep.folder / "broken.png")
        broken.write_bytes(picture.read_bytes()[:300])
        page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).first.click()
        page.locator("input[type=file]").set_input_files(broken)
        expect(page.get_by_text("The image cannot be read")).to_be_visible()
    assert elsewhere == []
