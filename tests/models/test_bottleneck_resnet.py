import pytest

from kdsweep.models.bottleneck_resnet import BottleneckResNet


@pytest.mark.usefixtures("meta_device")
def test_resnet50_has_the_parameters_of_the_distillation_tables():
    model = BottleneckResNet((3, 32, 32), num_classes=100, depth=50)
    assert sum(p.numel() for p in model.parameters()) == 23_705_252


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_depth_counts_the_layers_that_hold_weights(depth):
    model = BottleneckResNet((3, 32, 32), num_classes=10, depth=depth, width=0.02)
    layers = [p for name, p in model.named_parameters() if p.dim() > 1 and "shortcut" not in name]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [34, "50", None])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be one of \[50, 101, 152\], got"):
        BottleneckResNet((3, 32, 32), num_classes=10, depth=depth)
