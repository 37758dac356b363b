import pytest
import torch

from kdsweep.models.mobilenetv2 import InvertedResidual, MobileNetV2


@pytest.mark.usefixtures("meta_device")
def test_half_the_width_has_the_parameters_of_the_distillation_tables():
    model = MobileNetV2((3, 32, 32), num_classes=100)
    assert sum(p.numel() for p in model.parameters()) == 812_836


@pytest.mark.usefixtures("meta_device")
def test_the_last_convolution_grows_with_the_width_but_does_not_shrink():
    widths = [MobileNetV2((3, 32, 32), 10, width=width).head.in_features for width in (0.25, 1.4)]
    assert widths == [1280, 1792]


def test_a_block_that_keeps_the_shape_adds_its_input():
    maps = torch.randn(2, 8, 4, 4)
    for stride, channels, added in ((1, 8, True), (1, 6, False), (2, 8, False)):
        block = InvertedResidual(8, channels, stride, expansion=2).eval()
        torch.nn.init.zeros_(block.residual[2][0].weight)
        out = block(maps)
        assert torch.equal(out, maps) if added else not out.any()
