import pytest
import torch

from kdsweep.losses.nst import NST


def test_golden_value(case, golden):
    assert case(NST, [golden.fs], [golden.ft]).value().item() == pytest.approx(
        0.4969047424, abs=1e-9
    )


def test_the_order_of_the_channels_does_not_matter(case, golden):
    shuffled = golden.fs[:, [2, 0, 1]]
    torch.testing.assert_close(
        case(NST, [shuffled], [golden.ft]).value(), case(NST, [golden.fs], [golden.ft]).value()
    )
