import pytest
import torch

from kdsweep.models.basic_resnet import BasicResNet


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_220_132), (34, 21_328_292)])
def test_parameters_are_those_of_mmcls_resnet_cifar(depth, parameters):
    model = BasicResNet((3, 32, 32), num_classes=100, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_block_begins_as_its_shortcut():
    model = BasicResNet((3, 8, 8), num_classes=10, width=0.125)
    maps = torch.rand(2, 8, 8, 8)
    assert torch.equal(model.stage1(maps), maps)


def test_the_classifier_has_a_deviation_of_a_hundredth_and_no_bias():
    torch.manual_seed(0)
    head = BasicResNet((3, 8, 8), num_classes=100, width=0.125).head
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.bias.any()


@pytest.mark.parametrize("depth", [50, "18", None])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be one of \[18, 34\], got"):
        BasicResNet((3, 32, 32), num_classes=10, depth=depth)
