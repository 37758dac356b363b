import pytest
import torch
import torch.nn.functional as F

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.common.types import Batch
from kdsweep.common.validation import as_typed
from kdsweep.config.resolve import resolve_config
from kdsweep.losses.review import Fusion, Review, hierarchical_distance
from kdsweep.models.cifar_resnet import ResNet
from kdsweep.models.components.feature_extractor import FeatureExtractor


def wave(*shape, batch=0.3):
    """A sum over the indices of an array (B, channels, H, W), each with its slope; float64."""
    slopes = torch.tensor([batch, 0.5, 0.7, 0.9], dtype=torch.float64)
    axes = torch.meshgrid(*(torch.arange(size).double() for size in shape), indexing="ij")
    return sum(slope * axis for slope, axis in zip(slopes, axes, strict=False))


def set_by_formula(module, first, scale):
    """Every parameter, by its number: ``scale(parameter) * sin(position + number)``."""
    for number, parameter in enumerate(module.parameters(), start=first):
        positions = torch.arange(parameter.numel(), dtype=torch.float64)
        values = torch.sin(positions + number).reshape(parameter.shape)
        parameter.data = scale(parameter, values)


def like_a_network(parameter, values):
    """Convolutions that keep the size of what passes; all vectors around 0.5."""
    if parameter.dim() == 1:
        return values * 0.1 + 0.5
    return values * (2 / parameter[0].numel()) ** 0.5


def network(depth, first):
    made = ResNet((3, 32, 32), 100, depth=depth)
    set_by_formula(made, first, like_a_network)
    return made.double()


def test_golden_value_and_gradients_of_the_fused_levels(case):
    """By mdistiller's ReviewKD: levels that are fused, enlarged and reduced on the way."""
    sizes = [((3, 8), (4, 16)), ((4, 4), (6, 4)), ((5, 2), (7, 4)), ((6, 1), (8, 1))]
    fs, ft = [], []
    for number, ((channels, size), (target_channels, target_size)) in enumerate(sizes):
        fs.append(torch.sin(wave(4, channels, size, size) + number).requires_grad_())
        ft.append(torch.cos(wave(4, target_channels, target_size, target_size, batch=0.2) + number))
    fs[-1], ft[-1] = fs[-1].detach().flatten(1).requires_grad_(), ft[-1].flatten(1)
    made = case(Review, fs, ft)
    for number, link in enumerate(made.term.links):
        set_by_formula(link, number, lambda _, values: values / 2)
    value = made.value()
    value.backward()
    assert value.item() == pytest.approx(2.6316040150685005, abs=1e-12)
    lengths = [f.grad.norm().item() for f in fs]
    assert lengths == pytest.approx(
        [0.002970285647879519, 0.007488451537837106, 0.007043725289710904, 0.20596805171558843],
        rel=1e-11,
    )


@pytest.mark.parametrize(
    ("given", "golden_value", "stem", "stage3"),
    [
        ([], 4.941269864928537, 176.6613424731383, 26.35863960687896),
        (
            ["loss.review.pairs=${pairs:before_relu,embedding}"],
            4.9434089827704,
            174.31487730966805,
            25.709823326176366,
        ),
        (
            ["loss.review.teacher_mode=train"],
            6.03923790273501,
            186.9397310725388,
            26.06443597786218,
        ),
    ],
    ids=["mdistiller", "imagenet", "authors"],
)
def test_golden_value_of_two_networks(compose, given, golden_value, stem, stage3):
    """By mdistiller's networks and ReviewKD with the same weights, STU_PREACT False and True, and
    with its teacher in train mode, as in the authors' CIFAR-100 code."""
    words = ["student=resnet8", "teacher=resnet14", "loss=review", *given]
    options = dict(resolve_config(compose(*words)).loss["review"])
    del options["schedule"]
    term = instantiate_node(options, "loss.review")
    images = torch.sin(wave(2, 3, 32, 32))
    student, teacher = network(8, 0), network(14, 1).eval()
    output = FeatureExtractor(student, term.student_features)(images)
    with torch.no_grad():
        target = FeatureExtractor(teacher, term.teacher_features).with_train_features(images)
    index = torch.arange(2)
    term.setup(output, target, index)
    set_by_formula(term, 2, like_a_network)
    value = term(output, target, Batch(images, index, index))
    value.backward()
    assert value.item() == pytest.approx(golden_value, rel=1e-11)
    assert student.stem[0].weight.grad.norm().item() == pytest.approx(stem, rel=1e-9)
    assert student.stage3[0].conv1.weight.grad.norm().item() == pytest.approx(stage3, rel=1e-9)


def test_the_fused_maps_have_at_most_max_channels(case, golden):
    made = case(Review, [golden.fs, golden.es], [golden.ft, golden.et], max_channels=2)
    assert [link.enter[0].out_channels for link in made.term.links] == [2, 2]


@pytest.mark.parametrize("channels", [0, 2.5, "many", None])
def test_bad_channels_are_refused(channels):
    message = f"max_channels must be an integer >= 1, got {as_typed(channels)}"
    with pytest.raises(ValueError, match=message):
        Review([["a", "b"]], weight=1.0, max_channels=channels)


def test_golden_value_of_the_distance(golden):
    value = hierarchical_distance(golden.fs, golden.ft3)
    assert value.item() == pytest.approx(0.4062697809, abs=1e-9)


def test_maps_of_one_position_are_compared_as_they_are(golden):
    one = golden.fs[:, :, :1, :1], golden.ft3[:, :, :1, :1]
    torch.testing.assert_close(hierarchical_distance(*one), F.mse_loss(*one))


def test_the_deepest_level_is_not_fused(case, golden):
    made = case(Review, [golden.es], [golden.et])
    (fusion,) = made.term.links
    as_map = golden.es[:, :, None, None]
    expected = F.mse_loss(fusion.leave(fusion.enter(as_map)), golden.et[:, :, None, None])
    torch.testing.assert_close(made.value(), expected)
    assert fusion.attend is None


def test_a_level_is_mixed_with_the_one_below_by_two_attention_maps():
    torch.manual_seed(0)
    fusion = Fusion(3, 5, 6, fuses=True)
    maps, below = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)
    compared, fused = fusion(maps, below, (8, 8))
    fs = fusion.enter(maps)
    ft = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    weights = torch.sigmoid(fusion.attend(torch.cat([fs, ft], dim=1)))
    mixed = fs * weights[:, :1] + ft * weights[:, 1:]
    larger = mixed.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(fused, larger)
    torch.testing.assert_close(compared, fusion.leave(larger))


def test_every_level_comes_in_the_teachers_shape_from_common_channels(case, golden):
    made = case(
        Review, [golden.fs, golden.fs[:, :2, :2, :2], golden.es], [golden.ft, golden.ft2, golden.et]
    )
    shapes = [
        (f.enter[0].in_channels, f.enter[0].out_channels, f.leave[0].out_channels)
        for f in made.term.links
    ]
    assert shapes == [(3, 3, 6), (2, 3, 6), (3, 3, 6)]
    assert [f.attend is not None for f in made.term.links] == [True, True, False]
    assert torch.isfinite(made.value())


def test_tokens_are_refused(case, golden):
    tokens = golden.fs.flatten(2)
    with pytest.raises(ValueError, match="features must be maps or vectors, got"):
        case(Review, [tokens], [tokens])
