"""Accuracy against latency."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from kdsweep.plotting import tradeoff
from kdsweep.plotting.tradeoff import TradeoffPoint, draw_tradeoff


def drawn(points: list[TradeoffPoint], monkeypatch: pytest.MonkeyPatch) -> Figure:
    figures: list[Figure] = []
    monkeypatch.setattr(tradeoff, "save_with_title", lambda figure, *_: figures.append(figure))
    draw_tradeoff(points, Path("plot.png"))
    return figures[0]


def test_a_model_has_a_colour_and_a_runtime_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        TradeoffPoint("student", "torch", 2.0, 0.9),
        TradeoffPoint("student", "int8", 1.0, 0.8),
        TradeoffPoint("teacher", "torch", 9.0, 0.95),
    ]
    (axes,) = drawn(points, monkeypatch).axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker()]
    found = {(float(line.get_xdata()[0]), round(line.get_ydata()[0])): line for line in lines}
    student, small, teacher = found[2.0, 90], found[1.0, 80], found[9.0, 95]
    assert student.get_color() == small.get_color() != teacher.get_color()
    assert student.get_marker() == teacher.get_marker() != small.get_marker()


def test_less_than_a_decade_has_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [TradeoffPoint("a", "torch", 0.21, 0.9), TradeoffPoint("b", "torch", 0.6, 0.8)]
    figure = drawn(points, monkeypatch)
    figure.canvas.draw()
    (axes,) = figure.axes
    labels = {label.get_text() for label in axes.get_xticklabels()}
    assert "0.5" in labels
    assert not any("$" in label for label in labels)
