"""A student in lockstep ends with the bits of the same student alone, on the device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from device_training import bits, in_format, make_stream, train
from loss_students import CONVOLUTIONAL, LOSSES, make_batch, make_pair

from kdsweep.data.pipeline.mixup import BatchMixer
from kdsweep.training.checkpoint import Saved, load_latest, save

# An operation without a deterministic kernel warns.
pytestmark = [
    pytest.mark.usefixtures("kernels"),
    pytest.mark.filterwarnings("error:.*deterministic"),
]

# Those that draw on the device, whose numbers are others than the CPU's, and one whose vectors are
# arbitrary where singular values are equal, as of channels that are 0.
OTHER_VALUES = ("crd", "mgd", "kdsvd")
FORMATS = [
    (precision, memory_format)
    for precision in ("fp32", "bf16")
    for memory_format in ("contiguous", "channels_last")
]


def assert_same_in_lockstep(
    device: str, loss: str, family: str, memory_format: str = "contiguous", **options: Any
) -> None:
    alone = in_format(make_pair(loss, family, device, **options), memory_format)
    again = in_format(make_pair(loss, family, device, **options), memory_format)
    neighbour = in_format(make_pair("kl", family, device, **options), memory_format)
    before = bits(alone.student)
    train([alone.student], alone.teacher, device)
    train([neighbour.student, again.student], again.teacher, device)
    assert bits(again.student) == bits(alone.student) != before


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(device: str, loss: str) -> None:
    assert_same_in_lockstep(device, loss, "cnn")


@pytest.mark.parametrize(("precision", "memory_format"), FORMATS)
@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_every_precision_and_memory_format(
    device: str, family: str, precision: str, memory_format: str
) -> None:
    assert_same_in_lockstep(device, "fitnet", family, memory_format, precision=precision)


@pytest.mark.parametrize(
    "options",
    [{"grad_clip": 0.1}, {"precision": "bf16"}, {"accumulate": 2, "per_epoch": 3, "ema": 0.9}],
)
def test_the_steps_of_a_strong_view_and_mixed_images(device: str, options: dict[str, Any]) -> None:
    def trained(number: int) -> tuple[str, str]:
        pairs = [make_pair("mlkd", "cnn", device, **options) for _ in range(number)]
        stream = make_stream(device, mix=BatchMixer(mixup=1.0, cutmix=1.0), operations=2)
        train([pair.student for pair in pairs], pairs[0].teacher, device, stream=stream)
        return bits(pairs[-1].student)

    assert trained(1) == trained(3)


@pytest.mark.parametrize(("precision", "memory_format"), [FORMATS[0], FORMATS[3]])
@pytest.mark.parametrize("loss", ["crd", "ofd"])
def test_a_resumed_student_has_the_same_bits(
    device: str, precision: str, memory_format: str, loss: str, tmp_path: Path
) -> None:
    whole, first, second = (
        in_format(make_pair(loss, "resnet8", device, precision=precision), memory_format)
        for _ in range(3)
    )
    train([whole.student], whole.teacher, device)
    train([first.student], first.teacher, device, epochs=1)
    save(tmp_path, first.student, "mark")
    assert load_latest([Saved(tmp_path, second.student, "mark")])
    train([second.student], second.teacher, device)
    assert bits(second.student) == bits(whole.student)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in OTHER_VALUES])
def test_the_value_is_that_on_the_cpu(device: str, loss: str) -> None:
    values = []
    for where in ("cpu", device):
        student, teacher = make_pair(loss, "cnn", where)
        batch = make_batch(where)
        output = student.forward(batch, 1)
        values.append(student.objective(output, teacher.targets(batch, 1), batch, 0)[1])
    for name, value in values[0].items():
        torch.testing.assert_close(values[1][name].cpu(), value, rtol=2e-3, atol=1e-4)
