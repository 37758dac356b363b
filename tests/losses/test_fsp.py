import pytest
import torch

from kdsweep.losses.fsp import FSP, flow


def test_golden_value(case, golden):
    value = case(FSP, [golden.fs] * 2, [golden.ft3] * 2).value()
    assert value.item() == pytest.approx(0.0011854964, abs=1e-9)


def test_the_flow_is_the_mean_of_products_at_the_smaller_size(golden):
    b, c, d = 1, 2, 4
    expected = (golden.fs[b, c] * golden.ft[b, d]).mean()
    torch.testing.assert_close(flow(golden.fs, golden.ft)[b, d, c], expected)


def test_every_step_from_map_to_map_counts(case, golden):
    small = golden.fs[:, :, :2, :2], golden.ft3[:, :, :2, :2]
    three = case(FSP, [golden.fs, golden.fs, small[0]], [golden.ft3, golden.ft3, small[1]])
    first = case(FSP, [golden.fs] * 2, [golden.ft3] * 2)
    second = case(FSP, [golden.fs, small[0]], [golden.ft3, small[1]])
    torch.testing.assert_close(three.value(), first.value() + second.value())


def test_one_pair_is_refused():
    with pytest.raises(ValueError, match="pairs must be two at least"):
        FSP([["a", "b"]], weight=1.0)


def test_other_channels_are_refused(case, golden):
    with pytest.raises(ValueError, match=r"pairs \[f0, f0\]: maps must have equal channels, got"):
        case(FSP, [golden.fs] * 2, [golden.ft] * 2)


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        ("resnet56_resnet20", ["stem", "stage1", "stage2", "stage3"]),
        ("vgg13_vgg8", ["stage1", "stage2", "stage3", "stage4", "stage5"]),
    ],
)
def test_the_recipe_has_repdistillers_maps_f0_to_the_last(compose, pair, names):
    cfg = compose("experiment=cifar100_crd_fsp", f"experiment/pair={pair}")
    assert cfg.stages.flow.loss.fsp.pairs == [[name, name] for name in names]
