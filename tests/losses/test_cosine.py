import pytest
import torch

from kdsweep.losses.cosine import Cosine


def test_golden_value(case, golden):
    value = case(Cosine, [golden.es], [golden.et[:, :3]]).value()
    assert value.item() == pytest.approx(0.4596588586, abs=1e-9)


def test_it_is_the_loss_that_pytorch_has(case, golden):
    expected = torch.nn.CosineEmbeddingLoss()(golden.es, golden.et[:, :3], torch.ones(4))
    value = case(Cosine, [golden.es], [golden.et[:, :3]]).value()
    torch.testing.assert_close(value, expected)


def test_the_longer_feature_is_averaged_over_neighbours(case, golden):
    """As the tutorial's teacher, whose flattened map is twice as long as the student's."""
    pooled = torch.nn.functional.avg_pool1d(golden.et, 2)
    expected = case(Cosine, [golden.es], [pooled]).value()
    torch.testing.assert_close(case(Cosine, [golden.es], [golden.et]).value(), expected)
    torch.testing.assert_close(case(Cosine, [golden.et], [golden.es]).value(), expected)


def test_maps_are_flattened(case, golden):
    flat = case(Cosine, [golden.fs.flatten(1)], [golden.ft.flatten(1)]).value()
    torch.testing.assert_close(case(Cosine, [golden.fs], [golden.ft]).value(), flat)


def test_the_direction_alone_counts(case, golden):
    same = case(Cosine, [2 * golden.es], [golden.es]).value()
    opposite = case(Cosine, [-golden.es], [golden.es]).value()
    assert same.item() == pytest.approx(0, abs=1e-12)
    assert opposite.item() == pytest.approx(2)


def test_lengths_without_a_common_measure_are_refused(case, golden):
    with pytest.raises(ValueError, match=r"equally long, or one a multiple .* \(B, 4\) and \(B, 6"):
        case(Cosine, [golden.et[:, :4]], [golden.et])
