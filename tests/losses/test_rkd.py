import pytest
import torch

from kdsweep.losses.rkd import RKD

D, A = 0.0322358453, 0.0000102800


def test_golden_value(case, golden):
    assert case(RKD, [golden.es], [golden.et]).value().item() == pytest.approx(
        0.8064101312, abs=1e-9
    )


@pytest.mark.parametrize(("distance", "angle", "golden_value"), [(1, 0, D), (0, 1, A)])
def test_golden_value_of_each_part(case, golden, distance, angle, golden_value):
    weights = {"distance_weight": distance, "angle_weight": angle}
    value = case(RKD, [golden.es], [golden.et], **weights).value()
    assert value.item() == pytest.approx(golden_value, abs=1e-10)


def test_maps_are_averaged_over_their_positions(case, golden):
    whole = case(RKD, [golden.fs], [golden.ft]).value()
    pooled = case(RKD, [golden.fs.mean(dim=(2, 3))], [golden.ft.mean(dim=(2, 3))]).value()
    torch.testing.assert_close(whole, pooled)


def test_moving_turning_and_scaling_the_embeddings_changes_nothing(case, golden):
    turn, _ = torch.linalg.qr(torch.arange(9.0, dtype=torch.float64).view(3, 3) ** 0.5 + 1)
    moved = 2 * golden.es @ turn + 5
    torch.testing.assert_close(
        case(RKD, [moved], [golden.et]).value(), case(RKD, [golden.es], [golden.et]).value()
    )


def test_images_with_one_embedding_have_small_gradients(case, golden):
    """As of dead neurons: lengths of 0 have no direction, and no derivative."""
    features = golden.es.clone()
    features[1] = features[0]
    features.requires_grad_()
    value = case(RKD, [features], [golden.et]).value()
    value.backward()
    assert torch.isfinite(value)
    assert features.grad.abs().max() < 100


@pytest.mark.parametrize("name", ["distance_weight", "angle_weight"])
def test_bad_inner_weights_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a finite number >= 0, got -1"):
        RKD([["a", "b"]], weight=1.0, **{name: -1})
