"""What the demo shows of an image."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import written

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.comparison import NetworkOutput, comparison, outputs_of
from kdsweep.deploy.images import ImageError

CLASSES = ["cat", "<dog>", "cow"]
TEACHER = NetworkOutput("teacher", "vgg13", torch.tensor([8.0, 4.0, 0.0]), 9000, 2.0)
STUDENT = NetworkOutput("student", "vgg8", torch.tensor([0.0, 3.0, 0.0]), 100, 1.0)


def percents(html: str) -> list[float]:
    return [float(value) for value in re.findall(r"<span>([\d.e-]+) %</span>", html)]


def test_both_networks_stand_next_to_one_another() -> None:
    html = comparison([TEACHER, STUDENT], CLASSES, 1)
    assert html.index("vgg13") < html.index("vgg8")
    assert "9,000 parameters" in html
    assert "2.00 ms" in html
    assert "&lt;dog&gt;" in html
    assert "<dog>" not in html
    assert percents(html)[:2] == [98.17, 4.53]  # of the teacher's first class
    assert "They disagree." in html
    assert "They agree." in comparison(
        [TEACHER, replace(STUDENT, logits=TEACHER.logits)], CLASSES, 1
    )


def test_a_higher_temperature_shows_more_of_the_other_classes() -> None:
    first = [percents(comparison([TEACHER], CLASSES, T)) for T in (1, 4, 16)]
    assert all(sum(values) == pytest.approx(100, abs=0.1) for values in first)
    assert [values[1] for values in first] == sorted(values[1] for values in first)
    expected = (TEACHER.logits / 4).softmax(0)[1].item()
    assert first[1][1] == pytest.approx(100 * expected, abs=0.01)


def test_only_the_most_probable_classes_are_listed() -> None:
    many = NetworkOutput("student", "mlp", torch.arange(100.0) / 10, 1, 1.0)
    html = comparison([many], [f"c{n}" for n in range(100)], 1)
    assert re.findall(r"kd-class'>(c\d+)<", html) == [f"c{n}" for n in range(99, 89, -1)]
    assert "90 classes with less are not shown" in html


def test_an_image_is_seen_by_each_model(tmp_path: Path) -> None:
    models = {name: read_bundle(written(tmp_path / name, seed)) for seed, name in enumerate("ab")}
    image = np.zeros((6, 8, 3), np.uint8)
    found = outputs_of(models, image)
    assert [one.role for one in found] == ["a", "b"]
    for one, model in zip(found, models.values(), strict=True):
        assert torch.equal(one.logits, model.logits(image)[0])
        assert one.parameters == sum(p.numel() for p in model.module.parameters())
        assert one.milliseconds > 0
    with pytest.raises(ImageError):
        outputs_of(models, b"none")
