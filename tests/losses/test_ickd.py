import pytest
import torch
from torch import nn

from kdsweep.losses.ickd import ICKD, correlations


@pytest.fixture
def sines(case, golden):
    """The term with a convolution by formula, as for the golden values."""

    def made(target):
        built = case(ICKD, [golden.fs], [target])
        convolution = built.term.links[0].embedding[0]
        rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(3.0), indexing="ij")
        weight = torch.sin(rows + 2 * columns)[:, :, None, None]
        convolution.weight = nn.Parameter(weight.to(convolution.weight.dtype))
        return built

    return made


def test_golden_values(sines, golden):
    """Of ICKDLoss in the authors' repository (ADLab-AutoDrive/ICKD), with other sizes too."""
    assert sines(golden.ft).value().item() == pytest.approx(1.1492737471, abs=1e-6)
    assert sines(golden.ft2).value().item() == pytest.approx(0.8718032565, abs=1e-6)


def test_rows_of_correlations_have_length_1(golden):
    rows = correlations(golden.ft)
    assert rows.shape == (4, 6, 6)
    torch.testing.assert_close(rows.square().sum(dim=2), torch.ones(4, 6, dtype=torch.float64))


def test_a_map_is_independent_of_its_size(golden):
    repeated = golden.ft.repeat(1, 1, 8, 8)
    torch.testing.assert_close(correlations(repeated), correlations(golden.ft))


def test_the_embedding_is_a_convolution_without_bias_and_batchnorm(case, golden):
    made = case(ICKD, [golden.fs], [golden.ft])
    convolution, norm = made.term.links[0].embedding
    assert tuple(convolution.weight.shape) == (6, 3, 1, 1)
    assert convolution.bias is None
    assert isinstance(norm, nn.BatchNorm2d)
    made.value().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.term.parameters())
