import pytest

from kdsweep.models.convnet4 import ConvNet4


@pytest.mark.usefixtures("meta_device")
def test_parameters_are_those_of_the_student_of_kd_pytorch():
    """Four convolutions of 64 channels and a linear layer on 2 x 2 x 64 values."""
    convolutions = (3 * 9 + 1) * 64 + 3 * (64 * 9 + 1) * 64
    batch_norms, linear = 4 * 2 * 64, 257 * 10
    model = ConvNet4((3, 32, 32), num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == convolutions + batch_norms + linear
