import pytest
import torch

from kdsweep.losses.pkt import PKT, affinities


def test_golden_value(case, golden):
    assert case(PKT, [golden.es], [golden.et]).value().item() == pytest.approx(
        0.0024900465, abs=1e-9
    )


def test_maps_are_averaged_over_their_positions(case, golden):
    whole = case(PKT, [golden.fs], [golden.ft]).value()
    pooled = case(PKT, [golden.fs.mean(dim=(2, 3))], [golden.ft.mean(dim=(2, 3))]).value()
    torch.testing.assert_close(whole, pooled)


def test_each_image_gives_probabilities(golden):
    p = affinities(golden.es)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(4, dtype=torch.float64))
    assert (p >= 0).all()


def test_a_vector_of_zeros_is_no_division_by_zero(case, golden):
    features = golden.es.index_fill(0, torch.tensor([1]), 0.0).requires_grad_()
    value = case(PKT, [features], [golden.et]).value()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(features.grad).all()
