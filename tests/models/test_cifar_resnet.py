import pytest

from kdsweep.models.cifar_resnet import ResNet


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 278_324), (32, 472_756), (56, 861_620), (110, 1_736_564)]
)
def test_parameters_are_those_of_the_distillation_tables(depth, parameters):
    model = ResNet((3, 32, 32), num_classes=100, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(("depth", "parameters"), [(8, 1_233_540), (32, 7_433_860)])
def test_parameters_of_the_four_times_wider_forms(depth, parameters):
    """resnet8x4 and resnet32x4: the stem is only twice as wide."""
    model = ResNet((3, 32, 32), num_classes=100, depth=depth, width=4, stem_channels=32)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("channels", [0, 1.5, True])
def test_a_stem_without_channels_is_refused(channels):
    with pytest.raises(ValueError, match="stem_channels must be an integer > 0, got"):
        ResNet((3, 32, 32), num_classes=10, stem_channels=channels)


@pytest.mark.usefixtures("meta_device")
def test_depth_counts_the_layers_that_hold_weights():
    model = ResNet((3, 32, 32), num_classes=10, depth=44)
    layers = [p for name, p in model.named_parameters() if p.dim() > 1 and "shortcut" not in name]
    assert len(layers) == 44


@pytest.mark.usefixtures("meta_device")
def test_width_multiplies_the_channels():
    model = ResNet((3, 32, 32), num_classes=10, depth=8, width=0.5)
    assert [model.stem[0].out_channels, model.head.in_features] == [8, 32]


@pytest.mark.parametrize("depth", [2, 9, 18, 116, -4, "20", None])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 2 from 8 to 110, got"):
        ResNet((3, 32, 32), num_classes=10, depth=depth)
