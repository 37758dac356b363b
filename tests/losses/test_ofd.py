import numpy as np
import pytest
import torch
from torch import nn

from kdsweep.losses.ofd import OFD


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
    assert made.term.links[0].margin(golden.ft3.relu()).abs().sum() == 0


def test_a_student_below_a_negative_teacher_is_left_alone(case, golden):
    made = plain(case(OFD, [torch.full_like(golden.fs, -9)], [-golden.ft3.abs()]))
    assert made.value().item() == 0


def test_margins_are_the_mean_negative_responses_of_all_batches(case, golden):
    made = case(OFD, [golden.fs], [golden.ft3])
    shifted = golden.ft3 - 0.3
    made.value()
    margin = made.term.links[0].margin(shifted)
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


def test_golden_values(case, golden):
    """Those of Distiller in clovaai/overhaul-distillation, CIFAR-100/distiller.py, and of OFD in
    megvii-research/mdistiller, mdistiller/distillers/OFD.py. The margin is each channel's mean
    negative response."""
    maps = [golden.fs.clone().requires_grad_() for _ in range(2)]
    made = case(OFD, maps, [golden.ft3, golden.ft])
    for link, channels in zip(made.term.links, (3, 6), strict=True):
        rows, columns = torch.arange(channels), torch.arange(3, dtype=torch.float64)
        weight = torch.sin(rows.unsqueeze(1) + 2 * columns)
        link.connector[0].weight.data = weight.view(channels, 3, 1, 1)
    value = made.value()
    assert value.item() == pytest.approx(145.776832101022, abs=1e-10)
    norms = [gradient.norm().item() for gradient in torch.autograd.grad(value, maps)]
    assert norms == pytest.approx([6.966328548963, 18.137927646616], abs=1e-10)
