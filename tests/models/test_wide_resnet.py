import pytest
import torch

from kdsweep.models.wide_resnet import PreActivationBlock, WideResNet


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(
    ("depth", "width", "parameters"), [(16, 2, 703_284), (40, 1, 569_780), (40, 2, 2_255_156)]
)
def test_parameters_are_those_of_the_distillation_tables(depth, width, parameters):
    model = WideResNet((3, 32, 32), num_classes=100, depth=depth, width=width)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_block_that_keeps_the_shape_adds_to_its_bare_input():
    block = PreActivationBlock(4, 4, stride=1)
    torch.nn.init.zeros_(block.conv2.weight)
    maps = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(maps), maps)


def test_a_block_that_changes_the_shape_convolves_its_activated_input():
    block = PreActivationBlock(4, 8, stride=2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    maps = torch.randn(2, 4, 8, 8)
    expected = block.shortcut(torch.relu(block.bn1(maps)))
    assert torch.equal(block(maps), expected)


@pytest.mark.parametrize("depth", [4, 20, 106, "16", None])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 4 from 10 to 100, got"):
        WideResNet((3, 32, 32), num_classes=10, depth=depth)
