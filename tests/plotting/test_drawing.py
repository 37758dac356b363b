"""Names from data are drawn letter by letter, and no picture is worth a sweep."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from kdsweep.plotting import drawing
from kdsweep.plotting.confusion import draw_confusion
from kdsweep.plotting.curves import draw_curves
from kdsweep.plotting.drawing import fonts_with, save_figure, warn_on_failure
from kdsweep.plotting.heatmap import draw_heatmap
from kdsweep.plotting.samples import draw_samples
from kdsweep.report.sources.images import SheetImage, contact_sheet

HOSTILE = (
    *("$x^{$", "$5$", r"\frac{", r"a\$b", "50 %", "%{x}", "<b>&lt;</b>", "a_b^c", "[/red]"),
    *("日本", "مرحبا", r"a\udcffb", "", "x" * 500, "{}", "#"),
)


@pytest.fixture(autouse=True)
def no_warning(monkeypatch):
    """A warning is an error."""
    monkeypatch.setattr(drawing, "DPI", 30)  # the texts alone count
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def written(monkeypatch, draw, path):
    """All texts of a picture as they were when it was saved, and its size in pixels."""
    found = []
    real = Figure.savefig

    def savefig(figure, *args, **options):
        real(figure, *args, **options)
        found.extend(text for text in figure.findobj(lambda each: hasattr(each, "get_parse_math")))

    monkeypatch.setattr(Figure, "savefig", savefig)
    draw(path)
    assert not any(text.get_parse_math() for text in found)
    from matplotlib.image import imread

    assert max(imread(path).shape) < 3000
    return [text.get_text() for text in found]


def hostile_samples(path):
    images = torch.zeros(len(HOSTILE), 3, 4, 4, dtype=torch.uint8)
    draw_samples(images, torch.arange(len(HOSTILE)), HOSTILE, path)


def hostile_confusion(path):
    draw_confusion(np.eye(len(HOSTILE)), HOSTILE, path, title="$x^{$")


def hostile_heatmap(path):
    rows = [
        {"cell": f"kl {name} T={T}", "T": T, "alpha": 0.5, "val/acc": 0.9}
        for name in ("a=$x^{$", f"b={'y' * 500}")
        for T in (1, 4)
    ]
    draw_heatmap(rows, path)


def hostile_sheet(path):
    pixels = np.zeros((3, 4, 4), dtype=np.uint8)
    contact_sheet([("$x^{$\n" + "y" * 500, [SheetImage(pixels, n, n, n) for n in HOSTILE])], path)


@pytest.mark.ci
@pytest.mark.parametrize(
    "draw",
    [
        hostile_confusion,
        *(
            pytest.param(draw, marks=pytest.mark.slow)
            for draw in (hostile_samples, hostile_heatmap, hostile_sheet)
        ),
    ],
)
def test_names_are_drawn_as_they_are(monkeypatch, tmp_path, draw):
    texts = written(monkeypatch, draw, tmp_path / "picture.png")
    assert any("$x^{$" in text for text in texts)


def test_curves_of_a_metric_of_any_name(monkeypatch, tmp_path):
    rows = [{"epoch": 0, "metrics": {"train/loss": 1.0, "train/$x^{$": 2.0, "val/acc": 0.5}}]
    texts = written(monkeypatch, lambda path: draw_curves(rows, path), tmp_path / "curves.png")
    assert "train/$x^{$" in texts


def test_a_font_that_has_the_letters_is_looked_for(monkeypatch):
    from matplotlib import font_manager

    fonts_with.cache_clear()
    entry = font_manager.FontEntry(fname="some.ttf", name="Some CJK", style="normal", weight=400)
    bold = font_manager.FontEntry(fname="bold.ttf", name="Bold CJK", style="normal", weight=700)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [bold, entry])
    letters = {"some.ttf": frozenset(map(ord, "日本")), "bold.ttf": frozenset(map(ord, "日本"))}
    monkeypatch.setattr(
        drawing, "_letters_of", lambda path: letters.get(path, frozenset(range(256)))
    )
    assert fonts_with(frozenset("日本ab")) == ("Some CJK",)
    assert fonts_with(frozenset("ab")) == ()
    fonts_with.cache_clear()


def test_what_cannot_be_drawn_is_a_warning_that_names_it(caplog, tmp_path):
    with caplog.at_level(logging.WARNING), warn_on_failure(str(tmp_path / "x.png")):
        save_figure(Figure(), Path(tmp_path / "missing" / "x.png"))
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path / 'x.png'} could not be drawn: ")


def test_an_interrupt_is_raised():
    with pytest.raises(KeyboardInterrupt), warn_on_failure("x.png"):
        raise KeyboardInterrupt
