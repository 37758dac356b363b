import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.sp import SP


def test_golden_value(case, golden):
    assert case(SP, [golden.fs], [golden.ft]).value().item() == pytest.approx(
        0.0013020256, abs=1e-9
    )


def test_rows_of_length_1_by_the_l1_norm_are_torchdistills_other_value(golden):
    grams = [f.flatten(1) @ f.flatten(1).T for f in (golden.fs, golden.ft)]
    other = F.mse_loss(*(F.normalize(gram, p=1, dim=1) for gram in grams))
    assert other.item() == pytest.approx(0.0003346266, abs=1e-9)


def test_any_two_shapes_can_be_compared(case, golden):
    assert torch.isfinite(case(SP, [golden.es], [golden.ft2]).value())
