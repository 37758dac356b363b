import pytest
import torch

from kdsweep.losses.at import AT, attention


def test_golden_value(case, golden):
    assert case(AT, [golden.fs], [golden.ft]).value().item() == pytest.approx(
        0.0248041046, abs=1e-9
    )


def test_golden_value_with_the_larger_map_pooled(case, golden):
    assert case(AT, [golden.fs], [golden.ft2]).value().item() == pytest.approx(
        0.0424179613, abs=1e-9
    )


def test_attention_is_what_torchdistill_compares_in_mode_paper(golden):
    """It sums the channels and takes the L2 norm of the difference: the maps are the same."""
    difference = attention(golden.fs) - attention(golden.ft)
    assert difference.norm(dim=1).mean().item() == pytest.approx(0.6299091946, abs=1e-9)


def test_it_is_independent_of_the_size_and_sign_of_the_activations(case, golden):
    scaled = case(AT, [-3 * golden.fs], [golden.ft]).value()
    torch.testing.assert_close(scaled, case(AT, [golden.fs], [golden.ft]).value())


def test_maps_of_zeros_are_no_division_by_zero(case, golden):
    dark = torch.zeros_like(golden.fs, requires_grad=True)
    value = case(AT, [dark], [golden.ft]).value()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(dark.grad).all()
