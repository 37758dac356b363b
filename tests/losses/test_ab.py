import pytest
import torch
from torch import nn

from kdsweep.losses.ab import AB, Boundaries

boundary_error = Boundaries(nn.Identity())


def test_golden_value_with_the_identity_as_connector(case, golden):
    made = case(AB, [golden.fs], [golden.ft3])
    made.term.links[0] = Boundaries(nn.Identity())
    assert made.value().item() == pytest.approx(0.1316928808, abs=1e-9)


def test_each_pair_counts_half_of_the_next_one(case, golden):
    made = case(AB, [golden.fs] * 3, [golden.ft3] * 3)
    for number in range(3):
        made.term.links[number] = Boundaries(nn.Identity())
    assert made.value().item() == pytest.approx(0.1316928808 * 1.75, abs=1e-9)


def test_a_relu_of_the_teacher_changes_nothing(golden):
    after = boundary_error(golden.fs, golden.ft3.relu())
    assert torch.equal(after, boundary_error(golden.fs, golden.ft3))


def test_neurons_beyond_the_margin_on_the_right_side_are_left_alone(golden):
    assert boundary_error(golden.ft3.sign() * 1.5, golden.ft3).item() == 0


def test_the_connector_has_no_relu(case, golden):
    connector = case(AB, [golden.fs], [golden.ft2]).term.links[0].connector
    assert [type(layer) for layer in connector] == [nn.Conv2d, nn.BatchNorm2d]
