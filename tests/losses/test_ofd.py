import numpy as np
import pytest
import torch
from by_formula import BEFORE_RELU, wide_resnets
from torch import nn

from kdsweep.losses.ofd import OFD, margins_of


def reference(feature, target):
    """The formula in NumPy, of one batch that is the first."""
    source, wanted = feature.numpy(), target.numpy()
    margin = np.array(
        [
            channel[channel < 0].mean() if (channel < 0).any() else 0
            for channel in wanted.swapaxes(0, 1)
        ]
    )
    wanted = np.maximum(wanted, margin[:, None, None])
    partial = np.where((wanted <= 0) & (source <= wanted), 0, (source - wanted) ** 2)
    return partial.sum() / len(source)


@pytest.mark.parametrize(
    ("mode", "value", "norm"),
    [("train", 5.736237841670, 0.886153969669), ("eval", 6.175221326053, 0.237665724100)],
)
def test_the_value_on_whole_networks_is_that_of_the_authors_code(mode, value, norm):
    """Computed by CIFAR-100/distiller.py and models/WideResNet.py of
    clovaai/overhaul-distillation, whose teacher is in train mode; margins from BatchNorm."""
    term = OFD(BEFORE_RELU, weight=1e-3, teacher_mode=mode)
    networks = wide_resnets(term, width=2)
    found = term.weight * networks.value(term)
    assert found.item() == pytest.approx(value, rel=1e-10)
    assert networks.gradient_norm(found) == pytest.approx(norm, rel=1e-9)


def test_the_teacher_is_in_train_mode_by_default():
    assert OFD([["a", "b:before_relu"]], weight=1.0).teacher_features == ("b:before_relu:train",)
    assert OFD([["a", "b"]], weight=1.0, teacher_mode="eval").teacher_features == ("b",)
    with pytest.raises(ValueError, match="teacher_mode must be eval or train, got null"):
        OFD([["a", "b"]], weight=1.0, teacher_mode=None)


def test_golden_margins_of_a_batch_norm():
    """Computed by get_margin_from_BN of clovaai/overhaul-distillation, CIFAR-100/distiller.py."""
    norm = nn.BatchNorm2d(5).double()
    norm.weight.data = torch.tensor([1.0, -0.5, 0.3, 0.1, 2.0], dtype=torch.float64)
    norm.bias.data = torch.tensor([0.0, 0.2, -0.7, 0.4, -1.0], dtype=torch.float64)
    expected = [-0.7978845608028654, -0.33437808587281054, -0.7079445450485696, -0.3]
    found = margins_of(norm).flatten().tolist()
    assert found == pytest.approx([*expected, -2.018320867674067], rel=1e-12)


def test_the_margin_of_a_channel_without_deviation_is_its_value():
    norm = nn.BatchNorm2d(2)
    norm.weight.data.zero_()
    norm.bias.data = torch.tensor([0.5, -0.5])
    assert margins_of(norm).flatten().tolist() == [0, -0.5]


def test_without_a_batch_norm_of_these_channels_the_margins_are_measured(case, golden):
    made = case(OFD, [golden.fs], [golden.ft3])
    for network in (nn.Conv2d(3, 3, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(3, affine=False)):
        made.term.read_teacher(nn.ModuleDict({"f0": network}))
        assert made.term.links[0].margins is None
    made.term.read_teacher(nn.ModuleDict({"f0": nn.BatchNorm2d(3)}))
    made.value()
    assert made.term.links[0].margins.shape == (3, 1, 1)
    assert made.term.links[0].frequencies.sum() == 0


def test_a_checkpoint_holds_the_derived_margins(case, golden):
    made, twin = (case(OFD, [golden.fs], [golden.ft3]) for _ in range(2))
    norm = nn.BatchNorm2d(3)
    made.term.read_teacher(nn.ModuleDict({"f0": norm}))
    norm.bias.data += 1
    twin.term.read_teacher(nn.ModuleDict({"f0": norm}))
    assert not torch.equal(twin.value(), made.value())
    twin.term.load_state_dict(made.term.state_dict())
    assert torch.equal(twin.value(), made.value())


def plain(made):
    """The same case without its connectors."""
    for link in made.term.links:
        link.connector = nn.Identity()
    return made


def test_the_value_is_that_of_the_formula(case, golden):
    value = plain(case(OFD, [golden.fs], [golden.ft3])).value()
    assert value.item() == pytest.approx(reference(golden.fs, golden.ft3), abs=1e-9)


def test_each_pair_counts_half_of_the_next_one(case, golden):
    value = plain(case(OFD, [golden.fs] * 2, [golden.ft3] * 2)).value()
    assert value.item() == pytest.approx(1.5 * reference(golden.fs, golden.ft3), abs=1e-9)


def test_behind_a_relu_there_is_no_margin(case, golden):
    made = plain(case(OFD, [golden.fs], [golden.ft3.relu()]))
    assert made.value().item() == pytest.approx(reference(golden.fs, golden.ft3.relu()), abs=1e-9)
    assert made.term.links[0].measured(golden.ft3.relu()).abs().sum() == 0


def test_a_student_below_a_negative_teacher_is_left_alone(case, golden):
    made = plain(case(OFD, [torch.full_like(golden.fs, -9)], [-golden.ft3.abs()]))
    assert made.value().item() == 0


def test_margins_are_the_mean_negative_responses_of_all_batches(case, golden):
    made = case(OFD, [golden.fs], [golden.ft3])
    shifted = golden.ft3 - 0.3
    made.value()
    margin = made.term.links[0].measured(shifted)
    both = torch.cat([golden.ft3, shifted])
    expected = torch.stack([channel[channel < 0].mean() for channel in both.unbind(1)])
    torch.testing.assert_close(margin.flatten(), expected)


def test_in_eval_mode_the_margins_stay(case, golden):
    made = case(OFD, [golden.fs], [golden.ft3])
    made.term.eval()
    made.value()
    assert made.term.links[0].frequencies.sum() == 0


def test_the_connector_is_a_1x1_convolution_and_batch_norm(case, golden):
    connector = case(OFD, [golden.fs], [golden.ft]).term.links[0].connector
    assert repr(connector[0]) == repr(nn.Conv2d(3, 6, 1, bias=False))
    assert repr(connector[1]) == repr(nn.BatchNorm2d(6))
