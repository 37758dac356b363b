import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.vid import VID


@pytest.fixture
def constant(case, golden):
    """The term with all convolutions 0.1, as for the golden value."""

    def made(target):
        built = case(VID, [golden.fs], [target])
        for parameter in built.term.links[0].mean.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        return built

    return made


def test_golden_value(constant, golden):
    assert constant(golden.ft).value().item() == pytest.approx(0.8569481375, abs=1e-6)


def test_the_larger_map_is_pooled(constant, golden, case):
    value = constant(golden.ft2).value()
    small = constant(golden.ft2)._replace(student=constant(golden.ft2).student)
    small.student.features["f0"] = F.avg_pool2d(golden.fs, 2)
    torch.testing.assert_close(value, small.value())


def test_the_first_variance_is_5_and_each_channel_has_its_own(case, golden):
    scale = case(VID, [golden.fs], [golden.ft]).term.links[0].scale
    assert tuple(scale.shape) == (6, 1, 1)
    torch.testing.assert_close(F.softplus(scale) + 1e-5, torch.full_like(scale, 5.0))


def test_mean_and_variance_are_trained(case, golden):
    made = case(VID, [golden.fs], [golden.ft])
    made.value().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.term.parameters())
