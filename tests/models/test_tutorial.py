import pytest

from kdsweep.models.tutorial import DeepNN, LightNN


@pytest.mark.usefixtures("meta_device")
@pytest.mark.parametrize(("constructor", "parameters"), [(LightNN, 267_738), (DeepNN, 1_186_986)])
def test_parameters_are_those_that_the_tutorial_prints(constructor, parameters):
    model = constructor((3, 32, 32), num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.dropout.p == 0.1
