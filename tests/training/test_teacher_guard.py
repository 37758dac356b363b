"""A teacher in bf16 is compared with fp32, and stays as it was."""

import pytest
import torch
from toys import CLASSES, SHAPE, make_stream

from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.folding import Folding
from kdsweep.training.teacher import Teacher
from kdsweep.training.teacher_guard import MOST, compare, deviation

BATCH = next(iter(make_stream().epoch(0)))
IMAGES = BATCH.images
LOGITS = torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, -2.0]])
SPREAD = (10 / 6) ** 0.5


def folded(memory_format: str, precision: str) -> Teacher:
    torch.manual_seed(0)
    network = FeatureExtractor(CNN(in_shape=SHAPE, num_classes=CLASSES, width=4))
    folding = Folding(network.model)
    put_in_format(network.model, memory_format)
    return Teacher(network, precision=precision, folding=folding)


def teacher(memory_format: str, precision: str = "bf16") -> Teacher:
    torch.manual_seed(0)
    network = FeatureExtractor(CNN(in_shape=SHAPE, num_classes=CLASSES, width=4), ["stage1"])
    put_in_format(network.model, memory_format)
    return Teacher(network, precision=precision)


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_network_is_near_fp32_and_unchanged(memory_format: str) -> None:
    guarded, exact = teacher(memory_format), teacher("contiguous", "fp32")
    before, target = guarded.network.model.state_dict(), guarded.targets(BATCH, 0)
    values = {name: (value.clone(), value.stride()) for name, value in before.items()}
    state = torch.random.get_rng_state()
    found = deviation(guarded, IMAGES)
    assert found is not None
    assert not found.is_too_large
    assert found.largest > 0
    assert found == compare(guarded(IMAGES).logits, exact(IMAGES).logits)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in guarded.network.model.state_dict().items():
        assert torch.equal(value, values[name][0])
        assert value.stride() == values[name][1]
    assert torch.equal(guarded.targets(BATCH, 0).logits, target.logits)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_folded_batchnorms_are_compared_with_the_network_as_it_was(
    memory_format: str, precision: str
) -> None:
    guarded, exact = folded(memory_format, precision), teacher("contiguous", "fp32")
    before = guarded.logits(IMAGES)
    found = deviation(guarded, IMAGES)
    assert found is not None
    assert found == compare(before, exact(IMAGES).logits)
    assert not found.is_too_large
    assert (found.largest < 1e-4) == (precision == "fp32")
    assert torch.equal(guarded.logits(IMAGES), before)
    assert guarded.folding is not None
    assert len(guarded.folding) == 3
    guarded.folding._weights[0][0].mul_(-50)  # of the network as it was
    assert deviation(guarded, IMAGES) != found


def test_a_teacher_in_fp32_is_not_compared() -> None:
    assert deviation(teacher("channels_last", "fp32"), IMAGES) is None


def test_logits_are_compared_up_to_a_number_for_all_classes_of_an_image() -> None:
    found = compare(LOGITS + torch.tensor([[100.0], [-5.0]]), LOGITS)
    assert found.agreement == 1
    assert found.largest == pytest.approx(0, abs=1e-5)


def test_the_difference_is_relative_to_the_spread() -> None:
    changed = LOGITS.clone()
    changed[0, 2] += 3.0
    found = compare(changed, LOGITS)
    assert found.agreement == 0.5
    assert found.largest == pytest.approx(2.0 / SPREAD)
    assert found.is_too_large
    assert compare(100 * changed, 100 * LOGITS).largest == pytest.approx(found.largest)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_overflow_are_too_far(value: float) -> None:
    changed = LOGITS.clone()
    changed[0, 0] = value
    assert compare(changed, LOGITS).is_too_large


def test_a_network_whose_logits_cancel_is_too_far() -> None:
    """Differences of large activations are lost in bf16."""

    class Cancelling(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(SHAPE[0] * SHAPE[1] * SHAPE[2], CLASSES)
            torch.nn.init.constant_(self.fc.bias, 1000.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.fc(images.flatten(1)) - 1000.0

    found = deviation(Teacher(FeatureExtractor(Cancelling()), precision="bf16"), IMAGES)
    assert found is not None
    assert found.largest > MOST
