from functools import partial

import pytest
import torch
from by_formula import fill, formula_images
from torch import nn

from kdsweep.common.types import Batch
from kdsweep.losses.simkd import SimKD
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.reused_classifier import ReusedClassifier

TASK = {"in_shape": (3, 32, 32), "num_classes": 10}
RESNET = {"model": partial(ResNet, depth=8, width=0.5), "features": {"embedding": "pool"}}


def test_golden_value_and_logits_of_whole_networks():
    """Computed by train_student.py's use of SimKD and ResNet of DefangChen/SimKD, models/util.py
    and models/resnet.py."""
    term = SimKD([["pool:input", "pool:input"]], weight=1.0)
    teacher = fill(ResNet(**TASK, depth=8, width=0.25)).eval()
    student = fill(ReusedClassifier(**TASK, network=RESNET, channels=16)).train()
    term.initialize_student(student, teacher)
    images, labels = formula_images(), torch.arange(4)
    target = FeatureExtractor(teacher, term.teacher_features)(images)
    output = FeatureExtractor(student, term.student_features)(images)
    found = term(output, target, Batch(images, labels, labels))
    assert found.item() == pytest.approx(0.084949612865, rel=1e-10)
    (gradient,) = torch.autograd.grad(found, student.network.stem[0].weight)
    assert gradient.norm().item() == pytest.approx(0.006404722001, rel=1e-9)
    assert output.logits.norm().item() == pytest.approx(2.760534480868, rel=1e-10)


def test_a_larger_map_of_the_teacher_is_averaged(case, golden):
    made = case(SimKD, [golden.ft2], [golden.ft])
    expected = (nn.AvgPool2d(2)(golden.ft) - golden.ft2).square().mean()
    assert made.value().item() == pytest.approx(expected.item())


def test_maps_that_the_projector_does_not_fit_are_refused(case, golden):
    for student, teacher in ((golden.ft, golden.ft2), (golden.fs, golden.ft)):
        with pytest.raises(ValueError, match="maps must be of equal channels, "):
            case(SimKD, [student], [teacher])


def test_a_classifier_without_bias_is_reused_too():
    student, teacher = (nn.Linear(6, 5, bias=bias) for bias in (True, False))
    SimKD([["a", "b"]], weight=1.0).initialize_student(student.requires_grad_(False), teacher)
    assert torch.equal(student.weight, teacher.weight)
    assert student.bias.abs().sum() == 0


def test_a_student_with_a_classifier_of_its_own_is_refused():
    term = SimKD([["a", "b"]], weight=1.0)
    with pytest.raises(ValueError, match="must be of a student that reuses the teacher's classif"):
        term.initialize_student(nn.Linear(6, 5), nn.Linear(6, 5))
