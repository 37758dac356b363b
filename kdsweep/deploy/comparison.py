"""What `kdsweep demo` shows of an image: the probabilities of two networks at a temperature.

At T = 1 a teacher is nearly certain; its softmax at T > 1 shows how it ranks the other classes, the
"dark knowledge" that a student is trained with (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from torch import Tensor

from kdsweep.deploy.classifier import Classifier

SHOWN = 10  # classes
TIMED = 5  # forward passes of one image; the median is shown
TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True)
class NetworkOutput:
    """What a network has computed for one image.

    ``logits``: (C,); ``milliseconds``: the median of some forward passes, without preprocessing.
    """

    role: str
    name: str
    logits: Tensor
    parameters: int
    milliseconds: float

    def probabilities(self, temperature: float) -> list[float]:
        """Softmax of logits / T."""
        probabilities: list[float] = (self.logits.double() / temperature).softmax(0).tolist()
        return probabilities


def outputs_of(models: Mapping[str, Classifier], image: Any) -> list[NetworkOutput]:
    """What each model computes for an image. Raises ImageError if it cannot be read."""
    return [_output(role, model, image) for role, model in models.items()]


def _output(role: str, model: Classifier, image: Any) -> NetworkOutput:
    pixels = model.preprocessing.pixels(image)[None]
    seconds, logits = [], model.logits_of_pixels(pixels)  # the first pass is slower
    for _ in range(TIMED):
        start = time.perf_counter()
        logits = model.logits_of_pixels(pixels)
        seconds.append(time.perf_counter() - start)
    size = sum(parameter.numel() for parameter in model.module.parameters())
    return NetworkOutput(role, _name(model), logits[0], size, 1000 * statistics.median(seconds))


def _name(model: Classifier) -> str:
    run = model.manifest.run
    return str(run.get("student") or model.source.get("name") or "")


def comparison(outputs: Sequence[NetworkOutput], classes: Sequence[str], temperature: float) -> str:
    """A table in HTML: a row of bars for each of the most probable classes, a column a network."""
    if not outputs:
        return '<p class="kd-empty">Drop an image on the left.</p>'
    columns = [one.probabilities(temperature) for one in outputs]
    first = columns[0]
    order = sorted(range(len(classes)), key=lambda index: -first[index])[:SHOWN]
    heads = "".join(_head(one, classes) for one in outputs)
    rows = "".join(_row(classes[index], [column[index] for column in columns]) for index in order)
    left = len(classes) - len(order)
    rest = f"<p class='kd-note'>{left:,} classes with less are not shown.</p>" if left else ""
    return (
        f"<table class='kd'><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"{rest}<p class='kd-note'>{_remark(outputs, columns, classes, temperature)}</p>"
    )


def _head(one: NetworkOutput, classes: Sequence[str]) -> str:
    label = escape(classes[int(one.logits.argmax())])
    return (
        f"<th class='{one.role}'><span class='kd-role'>{one.role}</span>"
        f" <span class='kd-name'>{escape(one.name)}</span>"
        f"<div class='kd-label'>{label}</div>"
        f"<div class='kd-small'>{one.milliseconds:.2f} ms<br>{one.parameters:,} parameters"
        "</div></th>"
    )


def _row(name: str, values: Sequence[float]) -> str:
    roles = (TEACHER, STUDENT) if len(values) > 1 else (STUDENT,)
    cells = "".join(
        f"<td class='{role}'><div class='kd-value'><div class='kd-track'>"
        f"<div class='kd-bar' style='width:{100 * value:.2f}%'></div></div>"
        f"<span>{_percent(value)}</span></div></td>"
        for role, value in zip(roles, values, strict=True)
    )
    return f"<tr><td class='kd-class'>{escape(name)}</td>{cells}</tr>"


def _percent(value: float) -> str:
    """Small values keep two digits: 0.00012 %."""
    if value >= 0.001:
        return f"{100 * value:.2f} %"
    return f"{100 * value:.2g} %" if value > 0 else "0 %"


def _remark(
    outputs: Sequence[NetworkOutput],
    columns: Sequence[Sequence[float]],
    classes: Sequence[str],
    temperature: float,
) -> str:
    others = ", ".join(
        f"the {one.role} gives {_percent(1 - max(column))} to the other classes"
        for one, column in zip(outputs, columns, strict=True)
    )
    same = ""
    if len(outputs) > 1:
        choices = {int(one.logits.argmax()) for one in outputs}
        same = " They agree." if len(choices) == 1 else " They disagree."
    return f"At T = {temperature:g} {others}.{same}"
