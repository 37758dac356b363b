"""The targets of a frozen teacher: its outputs for a batch, with features in train mode."""

import pytest
import torch
from torch import nn
from toys import CLASSES, SHAPE

from kdsweep.common.types import Batch
from kdsweep.models.cnn import CNN
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.teacher import Ensemble, Teacher

BATCH = Batch(torch.randn(6, *SHAPE), torch.arange(6) % CLASSES, torch.arange(6))
NAME = "stage2:before_relu:train"


def teacher(seed: int = 0) -> Teacher:
    torch.manual_seed(seed)
    return Teacher(FeatureExtractor(CNN(in_shape=SHAPE, num_classes=CLASSES, width=4), [NAME]))


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def test_targets_in_train_mode_leave_no_trace() -> None:
    frozen = teacher()
    before, first = weights(frozen.network.model), frozen.targets(BATCH, 0)
    frozen.targets(BATCH._replace(images=BATCH.images + 1), 1)
    frozen(BATCH.images[:1])
    again = frozen.targets(BATCH, 2)
    assert torch.equal(again.features[NAME], first.features[NAME])
    assert torch.equal(again.logits, frozen(BATCH.images).logits)
    assert not first.features[NAME].requires_grad
    for value, old in zip(weights(frozen.network.model), before, strict=True):
        assert torch.equal(value, old)


@pytest.mark.parametrize(
    ("names", "passes"),
    [(["stage1"], 1), (["stage1:train"], 2), (["stage1", "stage1:train", NAME], 2)],
)
def test_the_features_of_all_terms_take_two_passes_at_most(names: list[str], passes: int) -> None:
    model = CNN(in_shape=SHAPE, num_classes=CLASSES, width=4)
    calls: list[bool] = []
    model.register_forward_hook(lambda *_: calls.append(True))
    Teacher(FeatureExtractor(model, names)).targets(BATCH, 0)
    assert len(calls) == passes


def test_a_single_image_can_be_evaluated() -> None:
    assert NAME not in teacher()(BATCH.images[:1]).features


def test_an_ensemble_has_the_features_of_each_member() -> None:
    members = [teacher(0), teacher(1)]
    targets = Ensemble(members).targets(BATCH, 0)
    for target, member in zip(targets.members, members, strict=True):
        assert torch.equal(target.features[NAME], member.targets(BATCH, 0).features[NAME])
