import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdsweep.losses.crd import CRD, OtherClasses, contrast

LABELS = torch.tensor([2, 0, 1, 1, 2, 0, 2, 2])


def test_golden_value():
    """RepDistiller's ContrastLoss of x[i, j] = exp(sin(.5 i + .3 j)) / 5e4, N = 5e4."""
    i, j = torch.meshgrid(torch.arange(4).double(), torch.arange(9).double(), indexing="ij")
    x = torch.exp(torch.sin(0.5 * i + 0.3 * j)) / 5e4
    once, noise = torch.ones(4, 8), torch.full((4,), 8 / 5e4, dtype=torch.float64)
    value = contrast(x[:, 0], x[:, 1:], once, noise)
    assert value.item() == pytest.approx(3.4267142058, abs=1e-9)


@pytest.fixture
def made(case, golden):
    return case(CRD, [golden.es], [golden.et], negatives=6, dim=5)


def reference(made, drawn):
    """RepDistiller's way, in NumPy: gather the vectors that were drawn, compare, normalise."""
    link, total = made.term.links[0], 0.0
    sides = [
        (link.student, made.student.features["f0"], link.theirs),
        (link.teacher, made.teacher.features["f0"], link.ours),
    ]
    for linear, feature, memory in sides:
        v = (feature @ linear.weight.T + linear.bias).detach().numpy()
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        chosen = np.concatenate([np.arange(len(v))[:, None], drawn], axis=1)
        scores = np.exp(np.einsum("bkd,bd->bk", memory.vectors.numpy()[chosen], v) / 0.07)
        x = scores / (scores.mean() * len(memory.vectors))
        noise = drawn.shape[1] / len(memory.vectors)
        total -= np.log(x[:, 0] / (x[:, 0] + noise + 1e-7)).sum() / len(v)
        total -= np.log(noise / (x[:, 1:] + noise + 1e-7)).sum() / len(v)
    return total


def test_the_value_is_that_of_the_gathered_memories(made, monkeypatch):
    drawn = np.array([[9, 9, 11, 47, 33, 21], [7, 8, 9, 10, 12, 13], [1, 3, 3, 3, 4, 5], [4] * 6])
    times = torch.stack([torch.bincount(torch.tensor(row), minlength=50) for row in drawn])
    monkeypatch.setattr(OtherClasses, "draw_counts", lambda *_: times.double())
    expected = reference(made, drawn)
    assert made.value().item() == pytest.approx(expected, rel=1e-9)


def test_memories_are_a_moving_average_of_the_embeddings(made):
    link = made.term.links[0]
    before = link.ours.vectors
    made.value()
    embeddings = F.normalize(link.student(made.student.features["f0"]), dim=1)
    expected = F.normalize((before[:4] + embeddings) / 2, dim=1)
    torch.testing.assert_close(link.ours.vectors[:4], expected.detach())
    assert torch.equal(link.ours.vectors[4:], before[4:])


def test_Z_is_that_of_the_first_batch(made):
    link = made.term.links[0]
    assert link.ours.Z == 0
    made.value()
    first = [link.ours.Z.clone(), link.theirs.Z.clone()]
    made.value()
    assert torch.equal(torch.stack(first), torch.stack([link.ours.Z, link.theirs.Z]))
    assert min(first) > 0


def test_in_eval_mode_nothing_is_remembered(made):
    made.term.eval()
    before = {name: tensor.clone() for name, tensor in made.term.state_dict().items()}
    made.value()
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.term.state_dict().items())


def test_memory_and_Z_are_in_the_checkpoint_and_the_labels_are_not(made):
    names = {name.removeprefix("links.0.") for name in made.term.state_dict()}
    memories = {f"{side}.{name}" for side in ("ours", "theirs") for name in ("vectors", "Z")}
    linears = {f"{side}.{name}" for side in ("student", "teacher") for name in ("weight", "bias")}
    assert names == memories | linears


def test_the_memory_starts_as_repdistillers(case, golden):
    vectors = case(CRD, [golden.es], [golden.et], negatives=2).term.links[0].ours.vectors
    assert tuple(vectors.shape) == (50, 128)
    assert 0.9 < vectors.abs().max() * (128 / 3) ** 0.5 <= 1


def test_all_images_of_other_classes_are_drawn_alike_and_no_others():
    torch.manual_seed(0)
    times = OtherClasses(LABELS).draw_counts(torch.tensor([0, 1, 2]), 20_000)
    for row, label in zip(times, (0, 1, 2), strict=True):
        others = label != LABELS
        assert row.sum() == 20_000
        assert row[~others].sum() == 0
        expected = 20_000 / others.sum()
        assert (row[others] - expected).abs().max() < 5 * expected**0.5


def test_one_class_alone_has_no_others():
    with pytest.raises(ValueError, match="training images must be of two classes at least, got on"):
        OtherClasses(torch.zeros(5, dtype=torch.long))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"negatives": 0}, "negatives must be an integer >= 1, got 0"),
        ({"temperature": 0}, "temperature must be a number from 0.02 to 1e6, got 0"),
        ({"temperature": 0.019}, "temperature must be a number from 0.02 to 1e6, got 0.019"),
        ({"temperature": 2e6}, "temperature must be a number from 0.02 to 1e6, got 2e\\+06"),
        ({"momentum": 1.5}, "momentum must be a number in .0, 1., got 1.5"),
        ({"dim": 2.5}, "dim must be an integer >= 1, got 2.5"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CRD([["a", "b"]], weight=1.0, **options)
