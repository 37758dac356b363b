import pytest
import torch
from by_formula import BEFORE_RELU, fill, wide_resnets
from torch import nn

from kdsweep.losses.ab import AB, Boundaries

boundary_error = Boundaries(nn.Identity())


@pytest.mark.parametrize(
    ("target", "value", "norm"),
    [
        ("ft", 0.319317558994, 0.009751201672),
        ("ft2", 0.071509377562, 0.016532519993),
        ("ft3", 0.131692880794, 0.019876585280),  # of the student's shape
    ],
)
def test_the_identity_connector_is_repdistillers(case, golden, target, value, norm):
    """Computed by distiller_zoo/AB.py and models/util.py's Connector of HobbitLong/RepDistiller."""
    feature = golden.fs.clone().requires_grad_()
    made = case(AB, [feature], [getattr(golden, target)], connector="identity")
    fill(made.term)
    found = made.value()
    found.backward()
    assert found.item() == pytest.approx(value, rel=1e-10)
    assert feature.grad.norm().item() == pytest.approx(norm, rel=1e-9)


@pytest.mark.parametrize(
    ("width", "mode", "value", "norm"),
    [
        (1, "train", 18.639362035471, 2.319733473275),
        (1, "eval", 24.681611353111, 1.424397870988),
        (2, "train", 78.270157500373, 6.031880395728),
        (2, "eval", 79.046311251186, 2.226442691196),
    ],
)
def test_the_authors_connector_on_whole_networks(width, mode, value, norm):
    """Computed by models/distillation_module.py, models/wideresnet.py and the loss of
    cifar10_AB_distillation.py of bhheo/AB_distillation, whose teacher is in train mode."""
    term = AB(BEFORE_RELU, weight=1.0, teacher_mode=mode)
    networks = wide_resnets(term, width)
    found = networks.value(term)
    assert found.item() == pytest.approx(value, rel=1e-10)
    assert networks.gradient_norm(found) == pytest.approx(norm, rel=1e-9)


def test_each_pair_counts_half_of_the_next_one(case, golden):
    made = case(AB, [golden.fs] * 3, [golden.ft3] * 3)
    assert made.value().item() == pytest.approx(0.1316928808 * 1.75, abs=1e-9)


def test_a_relu_of_the_teacher_changes_nothing(golden):
    after = boundary_error(golden.fs, golden.ft3.relu())
    assert torch.equal(after, boundary_error(golden.fs, golden.ft3))


def test_neurons_beyond_the_margin_on_the_right_side_are_left_alone(golden):
    assert boundary_error(golden.ft3.sign() * 1.5, golden.ft3).item() == 0


CONNECTORS = {
    ("authors", "ft"): [nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6)],
    ("identity", "ft"): [nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)],
    ("authors", "ft2"): [nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)],  # of another size
    ("identity", "ft2"): [nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)],
}


@pytest.mark.parametrize(("kind", "target"), CONNECTORS)
def test_the_connector_between_unlike_shapes_has_no_relu(case, golden, kind, target):
    made = case(AB, [golden.fs], [getattr(golden, target)], connector=kind)
    assert repr([*made.term.links[0].connector]) == repr(CONNECTORS[kind, target])


@pytest.mark.parametrize("kind", ["authors", "identity"])
def test_between_equal_shapes_there_is_no_connector(case, golden, kind):
    made = case(AB, [golden.fs], [golden.ft3], connector=kind)
    assert not list(made.term.parameters())


def test_the_authors_convolution_has_their_initialisation():
    term = AB([["a", "b"]], weight=1.0)
    convolution = term.make_link((2, 64, 4, 4), (2, 128, 4, 4)).connector[0]
    assert convolution.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)


def test_the_stage_of_the_recipe_leaves_the_last_batch_norm_of_a_wide_resnet():
    """RepDistiller has it in eval mode in the stage, where it only divides by sqrt(1 + eps)."""
    term = AB([["stage3", "last.0"]], weight=1.0, connector="identity")
    networks = wide_resnets(term, 1)
    networks.value(term).backward()
    norm = networks.student.last[0]
    assert norm.weight.grad is None
    assert networks.student.stem.weight.grad.norm() > 0
    untrained, maps = nn.BatchNorm2d(64).double().eval(), networks.outputs[0].features["stage3"]
    torch.testing.assert_close(untrained(maps), maps, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"connector": "plain"}, "connector must be authors or identity, got plain"),
        ({"teacher_mode": "test"}, "teacher_mode must be eval or train, got test"),
    ],
)
def test_other_words_are_refused(option, sentence):
    with pytest.raises(ValueError, match=sentence):
        AB([["a", "b"]], weight=1.0, **option)
