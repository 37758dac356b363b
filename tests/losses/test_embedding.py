import pytest
import torch
from torch import nn

from kdsweep.losses.embedding import Embedding
from kdsweep.losses.fitnet import FitNet


def with_projection(made, weight):
    """The case with a projection of this matrix and without a bias."""
    (link,) = made.term.links
    with torch.no_grad():
        link.projection.weight.copy_(weight)
        link.projection.bias.zero_()
    made.term.double()
    return made


@pytest.fixture
def projected(case, golden):
    """``projected(distance="mse")``: the golden embeddings, projected by a matrix by formula."""
    i, j = torch.meshgrid(torch.arange(6.0), torch.arange(3.0), indexing="ij")
    weight = torch.cos(i + 2 * j).double()

    def made(**options):
        return with_projection(case(Embedding, [golden.es], [golden.et], **options), weight)

    return made, golden.es @ weight.T, golden.et


def test_cosine_is_pytorchs_loss_of_the_projected_vector(projected):
    made, student, teacher = projected
    expected = nn.CosineEmbeddingLoss()(student, teacher, torch.ones(4))
    torch.testing.assert_close(made().value(), expected)


@pytest.mark.parametrize(
    ("distance", "loss"), [("mse", nn.MSELoss), ("smooth_l1", nn.SmoothL1Loss)]
)
def test_distances_are_pytorchs_losses(projected, distance, loss):
    made, student, teacher = projected
    torch.testing.assert_close(made(distance=distance).value(), loss()(student, teacher))


def test_mse_of_vectors_of_length_1_is_cosine_by_the_dimensions(projected):
    made, _, _ = projected
    expected = 2 / 6 * made().value()
    torch.testing.assert_close(made(distance="mse", normalize=True).value(), expected)


def test_a_linear_projection_with_mse_is_fitnet_s_of_vectors(case, golden):
    options = {"distance": "mse"}
    one = case(Embedding, [golden.es], [golden.et], **options)
    other = case(FitNet, [golden.es], [golden.et])
    torch.testing.assert_close(one.value(), other.value())


def test_maps_and_tokens_are_averaged_over_their_positions(case, golden):
    mean = case(Embedding, [golden.fs.mean(dim=(2, 3))], [golden.ft2.mean(dim=(2, 3))]).value()
    torch.testing.assert_close(case(Embedding, [golden.fs], [golden.ft2]).value(), mean)
    tokens = golden.fs.flatten(2).transpose(1, 2), golden.ft2.flatten(2).transpose(1, 2)
    torch.testing.assert_close(case(Embedding, [tokens[0]], [tokens[1]]).value(), mean)


def test_without_a_projection_the_vectors_are_of_one_length(case, golden):
    same = case(Embedding, [golden.et], [golden.et], projection="none")
    assert same.value().item() == pytest.approx(0, abs=1e-12)
    assert not [*same.term.parameters()]
    with pytest.raises(ValueError, match=r"projection must be linear or mlp for .* \(B, 3\) and"):
        case(Embedding, [golden.es], [golden.et], projection="none")


def test_an_mlp_learns(case, golden):
    made = case(Embedding, [golden.es.float()], [golden.et.float()], projection="mlp")
    optimizer = torch.optim.Adam(made.term.parameters(), lr=0.03)
    first = made.value().item()
    for _ in range(60):
        optimizer.zero_grad()
        made.value().backward()
        optimizer.step()
    assert made.value().item() < 0.2 * first


def test_it_needs_no_logits(case, golden):
    assert not case(Embedding, [golden.es], [golden.et]).term.needs_logits


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"distance": "l1"}, "distance must be one of cosine, mse, smooth_l1, got l1"),
        ({"projection": "conv"}, "projection must be one of linear, mlp, none, got conv"),
        ({"normalize": 1}, "normalize must be true or false, got 1"),
    ],
)
def test_other_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        Embedding([["a", "b"]], weight=1.0, **options)
