"""Properties of every feature term."""

import pytest
import torch
from feature_terms import MAPS, PLAIN, STEPS, TERMS
from torch.utils._python_dispatch import TorchDispatchMode

every_term = pytest.mark.parametrize("name", TERMS)


def maps(*shape, seed=0):
    """A map of random numbers, of both signs, that requires a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, requires_grad=True)


@pytest.fixture
def pair(case):
    """``pair("AT", images=5)``: a term over two pairs of maps, bound with another batch."""

    def made(name, images=5, student=(6, 4, 4), teacher=(6, 4, 4), **options):
        def features(count, shape, first):
            return [maps(count, *shape, seed=first + n) for n in range(2)]

        bound_to = features(2, student, 10), features(2, teacher, 20)
        return case(
            TERMS[name],
            features(images, student, 0),
            features(images, teacher, 5),
            bound_to=bound_to,
            **({"negatives": 16} if name == "CRD" else {}),
            **options,
        )

    return made


@every_term
def test_the_gradient_reaches_student_and_own_parameters_but_not_the_teacher(pair, name):
    made = pair(name)
    value = made.value()
    value.backward()
    assert value.shape == ()
    for feature in made.student.features.values():
        assert torch.isfinite(feature.grad).all()
        assert feature.grad.abs().sum() > 0
    assert all(feature.grad is None for feature in made.teacher.features.values())
    assert all(parameter.grad is not None for parameter in made.term.parameters())
    learns = name not in (*PLAIN, "AB")  # AB has a connector between unlike shapes alone
    assert any(True for _ in made.term.parameters()) == learns


@pytest.mark.parametrize("name", PLAIN)
def test_a_student_that_equals_its_teacher_has_value_0(pair, name):
    made = pair(name)
    same = made._replace(student=made.teacher)
    assert same.value().item() == pytest.approx(0.0, abs=1e-6)
    assert made.value() > 1e-6


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in STEPS])  # there, steps do
def test_the_pairs_add_up(case, name):
    one, other = (maps(5, 6, 4, 4, seed=seed) for seed in (1, 2))
    alone = case(TERMS[name], [one], [other]).value()
    torch.testing.assert_close(case(TERMS[name], [one] * 3, [other] * 3).value(), 3 * alone)


@every_term
def test_bf16_features_are_compared_in_float32_inside_and_outside_of_autocast(pair, name):
    made = pair(name)
    for output in (made.student, made.teacher):
        halved = {key: feature.bfloat16() for key, feature in output.features.items()}
        output.features.update(halved)
    made.term.eval()
    outside = made.value()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = made.value()
    assert outside.dtype == torch.float32
    assert torch.isfinite(outside)
    assert torch.equal(inside, outside)


@every_term
def test_float64_stays_float64(pair, name):
    made = pair(name)
    made.term.double()
    for output in (made.student, made.teacher):
        output.features.update({key: f.double() for key, f in output.features.items()})
    assert made.value().dtype == torch.float64


@pytest.mark.parametrize("images", [1, 2, 9])
@every_term
def test_batches_of_any_size_are_finite(pair, name, images):
    made = pair(name, images=images)
    value = made.value()
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(f.grad).all() for f in made.student.features.values())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((6, 8, 8), (6, 4, 4)),
        ((6, 4, 4), (6, 8, 8)),
        ((6, 7, 5), (6, 4, 4)),
        ((6, 8, 6), (6, 4, 3)),
        ((3, 4, 4), (6, 4, 4)),
    ],
)
@every_term
def test_other_sizes_and_channels(pair, name, student, teacher):
    refused = {"Cosine": (6, 7, 5)} | dict.fromkeys((*STEPS, "CATKD"), (3, 4, 4))
    if refused.get(name) == student:
        pytest.skip("refused: tested in its own file")
    value = pair(name, student=student, teacher=teacher).value()
    value.backward()
    assert torch.isfinite(value)


@pytest.mark.parametrize("name", [name for name in TERMS if name not in MAPS])
def test_vectors_can_be_compared(pair, name):
    assert torch.isfinite(pair(name, student=(6,), teacher=(12,)).value())


@pytest.mark.parametrize("name", MAPS)
def test_vectors_are_refused_where_positions_are_compared(pair, name):
    sentence = r"pairs \[f0, f0\]: features must be maps .*, got \(B, 6\) and \(B, 6, 4, 4\)"
    with pytest.raises(ValueError, match=sentence):
        pair(name, student=(6,))


@every_term
def test_the_weight_is_left_to_the_objective(pair, name):
    light, heavy = pair(name, weight=1.0), pair(name, weight=3.0)
    assert (light.term.weight, heavy.term.weight) == (1.0, 3.0)
    assert torch.equal(light.value(), heavy.value())


@every_term
def test_a_state_brings_a_term_to_where_it_was(pair, name):
    """Two steps, the state into a new term, a third step: it is the third of the first term."""
    made, twin = pair(name), pair(name)
    made.value(), made.value()
    twin.term.load_state_dict(made.term.state_dict())
    assert torch.equal(twin.value(), made.value())


@every_term
def test_equal_seeds_give_equal_terms(pair, name):
    assert torch.equal(pair(name).value(), pair(name).value())


@every_term
def test_the_features_it_needs_are_declared_once_each(name):
    term = TERMS[name]([["a", "x"], ["b", "x"], ["a", "y"]], weight=1.0)
    assert term.student_features == ("a", "b")
    assert [feature.removesuffix(":train") for feature in term.teacher_features] == ["x", "y"]


@every_term
def test_pairs_that_are_none_are_refused(name):
    with pytest.raises(ValueError, match=r"pairs must be \[\[student_feature, "):
        TERMS[name]([], weight=1.0)


@pytest.mark.parametrize("name", [name for name in TERMS if name not in PLAIN])
def test_a_step_before_setup_is_an_error(pair, name):
    made = pair(name)
    unbound = TERMS[name](made.term.pairs, weight=1.0)
    with pytest.raises(RuntimeError, match=f"{name}.setup must be called before the first batch"):
        unbound(made.student, made.teacher, made.batch)


@every_term
def test_a_step_never_waits_for_the_device(pair, name):
    made = pair(name)
    with NoSynchronisation():
        made.value().backward()


class NoSynchronisation(TorchDispatchMode):
    """Raises where a value, or a size that depends on values, would be read from the device."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::")
        assert not name.startswith(self.FORBIDDEN), f"{name} waits for the device"
        if name.startswith("index."):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), "a mask as an index"
        return func(*args, **(kwargs or {}))
