import pytest
import torch
from by_formula import fill

from kdsweep.losses.ft import FT, factor_distance


def test_golden_value_of_the_factors(golden):
    assert factor_distance(golden.fs, golden.ft).item() == pytest.approx(0.1404799723, abs=1e-9)


def test_equal_factors_have_no_distance(golden):
    assert factor_distance(golden.fs, golden.fs).item() == 0


def test_factors_of_two_sizes_are_compared_at_the_smaller_one(golden):
    pooled = torch.nn.functional.avg_pool2d(golden.fs, 2)
    assert torch.equal(factor_distance(golden.fs, golden.ft2), factor_distance(pooled, golden.ft2))


@pytest.mark.parametrize(
    ("learns", "error", "error_norm", "distance", "distance_norm"),
    [
        ("translator", 7.172748766494, 129.897921458822, 0.163167754885, 0.126758538379),
        ("both", 0.722328348751, 0.609455708558, 0.135114509199, 0.095739047421),
    ],
)
def test_golden_values_of_repdistillers_networks(
    case, golden, learns, error, error_norm, distance, distance_norm
):
    """Computed by Paraphraser and Translator, models/util.py of HobbitLong/RepDistiller, and its
    distiller_zoo/FT.py; learned together, with use_bn=True."""
    feature = golden.fs.clone().requires_grad_()
    link = case(FT, [feature], [golden.ft], learns=learns).term.links[0]
    fill(link.translator)
    paraphraser = fill(torch.nn.Sequential(link.encoder, link.decoder)).requires_grad_(True)
    factor = link.encoder(golden.ft)
    found = link.reconstruction_error(factor, golden.ft)
    (gradient,) = torch.autograd.grad(found, next(paraphraser.parameters()))
    assert found.item() == pytest.approx(error, rel=1e-10)
    assert gradient.norm().item() == pytest.approx(error_norm, rel=1e-10)
    found = factor_distance(link.translator(feature), factor.detach())
    (gradient,) = torch.autograd.grad(found, feature)
    assert found.item() == pytest.approx(distance, rel=1e-10)
    assert gradient.norm().item() == pytest.approx(distance_norm, rel=1e-9)


@pytest.mark.parametrize("learns", ["paraphraser", "translator", "both"])
def test_the_layers_are_repdistillers(case, golden, learns):
    link = case(FT, [golden.fs], [golden.ft], learns=learns).term.links[0]
    layers = {
        part: [type(layer).__name__ for layer in getattr(link, part)]
        for part in ("translator", "encoder", "decoder")
    }
    plain = {"encoder": ["Conv2d", "LeakyReLU"], "decoder": ["ConvTranspose2d", "LeakyReLU"]}
    normed = {part: [kind, "BatchNorm2d", "LeakyReLU"] for part, (kind, _) in plain.items()}
    assert layers["translator"] == normed["encoder"] * 3
    for part, once in (normed if learns == "both" else plain).items():
        assert layers[part] == once * 3
    assert {m.negative_slope for m in link.modules() if hasattr(m, "negative_slope")} == {0.1}


@pytest.mark.parametrize(("rate", "channels"), [(0.5, 3), (1.0, 6), (2.0, 12), (0.01, 1)])
def test_a_factor_has_rate_times_the_channels_of_the_teacher(case, golden, rate, channels):
    link = case(FT, [golden.fs], [golden.ft], rate=rate).term.links[0]
    factors = [network(maps) for network, maps in ((link.translator, golden.fs),)]
    factors.append(link.encoder(golden.ft))
    assert {tuple(factor.shape) for factor in factors} == {(4, channels, 4, 4)}
    assert link.decoder(factors[1]).shape == golden.ft.shape


def test_the_distance_teaches_the_translator_and_the_error_the_paraphraser(case, golden):
    made = case(FT, [golden.fs], [golden.ft])
    link = made.term.links[0]
    distance = factor_distance(link.translator(golden.fs), link.encoder(golden.ft))
    error = torch.nn.functional.mse_loss(link.decoder(link.encoder(golden.ft)), golden.ft)
    parts = {part: list(getattr(link, part).parameters()) for part in ("translator", "encoder")}
    wanted = {
        "translator": torch.autograd.grad(distance, parts["translator"]),
        "encoder": torch.autograd.grad(error / made.term.weight, parts["encoder"]),
    }
    made.value().backward()
    for part, parameters in parts.items():
        for parameter, gradient in zip(parameters, wanted[part], strict=True):
            assert torch.allclose(parameter.grad, gradient)


def test_the_paraphraser_learns_at_weight_1_whatever_the_weight_of_the_term(case, golden):
    gradients = []
    for weight in (0.5, 200.0):
        torch.manual_seed(0)
        made = case(FT, [golden.fs], [golden.ft], weight=weight)
        (weight * made.value()).backward()
        gradients.append(made.term.links[0].decoder[0].weight.grad)
    assert torch.allclose(*gradients)


def test_a_paraphraser_learns_alone_and_nothing_of_the_student_does(case, golden):
    made = case(FT, [golden.fs], [golden.ft], learns="paraphraser")
    link = made.term.links[0]
    value = made.value()
    expected = torch.nn.functional.mse_loss(link.decoder(link.encoder(golden.ft)), golden.ft)
    assert value.item() == pytest.approx(expected.item())
    value.backward()
    assert all(parameter.grad is None for parameter in link.translator.parameters())
    assert link.encoder[0].weight.grad.norm() > 0


def test_a_translator_learns_against_the_paraphraser_of_the_stage(case, golden):
    before = case(FT, [golden.fs], [golden.ft], learns="paraphraser").term
    made = case(FT, [golden.fs], [golden.ft], learns="translator")
    untrained = {key: value.clone() for key, value in made.term.state_dict().items()}
    made.term.load_stage_state(before.state_dict())
    link, paraphraser = made.term.links[0], before.links[0]
    for key, value in made.term.state_dict().items():
        wanted = untrained if "translator" in key else before.state_dict()
        assert torch.equal(value, wanted[key]), key
    value = made.value()
    factors = factor_distance(link.translator(golden.fs), paraphraser.encoder(golden.ft))
    assert value.item() == pytest.approx(factors.item())
    value.backward()
    assert link.translator[0].weight.grad.norm() > 0
    assert not any(
        p.requires_grad for part in (link.encoder, link.decoder) for p in part.parameters()
    )


def test_a_paraphraser_of_another_map_is_refused(case, golden):
    before = case(FT, [golden.fs], [golden.ft], learns="paraphraser", rate=1.0).term
    term = case(FT, [golden.fs], [golden.ft], learns="translator").term
    with pytest.raises(ValueError, match="the stage's paraphrasers are of other pairs"):
        term.load_stage_state(before.state_dict())
    with pytest.raises(ValueError, match="the stage's paraphrasers are of other pairs"):
        term.load_stage_state({})


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="learns must be one of both, paraphraser, translator"):
        FT([["a", "b"]], weight=1.0, learns="nothing")


@pytest.mark.parametrize("rate", [0, -1, float("nan"), None, "half"])
def test_bad_rates_are_refused(rate):
    with pytest.raises(ValueError, match="rate must be a finite number > 0, got"):
        FT([["a", "b"]], weight=1.0, rate=rate)
