import pytest
import torch
from by_formula import fill
from torch import nn

from kdsweep.losses.cat_kd import CATKD
from kdsweep.models.components.class_maps import class_maps


@pytest.mark.parametrize(
    ("options", "value", "norms"),
    [
        ({}, 0.505763775274, (0.010475495709, 0.5177815580600227)),
        ({"normalize": False}, 0.062719596487, (0.017993782649, 0.16326905878690948)),
        ({"resolution": 3}, 0.214492299332, (0.005236356736, 0.2271643665425794)),
        ({"resolution": 4}, 0.126194983775, (0.002235977603, 0.1288806316409024)),
    ],
)
def test_golden_values(case, golden, options, value, norms):
    """Computed by CAT_loss of GzyAftermath/CAT-KD, mdistiller/distillers/CAT_KD.py, of maps behind
    its 1x1 convolutions; the norms of the gradients of the student's map and classifier."""
    student, teacher = (fill(nn.Linear(channels, 5)) for channels in (3, 6))
    feature = golden.fs.clone().requires_grad_()
    maps = [class_maps(feature, student, "f0")], [class_maps(golden.ft, teacher, "f0")]
    found = case(CATKD, *maps, **options).value()
    assert found.item() == pytest.approx(value, rel=1e-10)
    gradients = torch.autograd.grad(found, [feature, student.weight])
    assert [slope.norm().item() for slope in gradients] == pytest.approx(norms, rel=1e-9)


def test_normalised_grids_do_not_depend_on_the_size_of_the_maps(case, golden):
    plain, large = (case(CATKD, [factor * golden.fs], [golden.ft3]).value() for factor in (1, 100))
    assert large.item() == pytest.approx(plain.item(), rel=1e-12)


def test_other_numbers_of_classes_are_refused(case, golden):
    sentence = r"class maps must be of as many classes .*, got \(B, 3, 4, 4\) and \(B, 6, 4, 4\)"
    with pytest.raises(ValueError, match=sentence):
        case(CATKD, [golden.fs], [golden.ft])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution": 0}, "resolution must be an integer >= 1, got 0"),
        ({"resolution": 1}, "resolution must be at least 2 with normalize=true, got 1"),
        ({"normalize": 1}, "normalize must be true or false, got 1"),
    ],
)
def test_wrong_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CATKD([["a", "b"]], weight=1.0, **options)
    assert CATKD([["a", "b"]], weight=1.0, resolution=1, normalize=False).resolution == 1
