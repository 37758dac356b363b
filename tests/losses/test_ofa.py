"""OFA's term; the golden values are of Hao840/OFAKD, distillers/ofa.py, with timm 0.6.5's eps."""

import pytest
import torch
from torch import Tensor, nn

from kdsweep.common.types import Batch, MixedLabels, Output
from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.ofa import OFA, ofa_loss

EPS = [1.0, 1.5, 0.8, 1.2, 1.1]
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def by_formula(*shape: int) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.sin(0.37 * torch.arange(count).double() + 0.1 * len(shape)).view(shape)


def maps() -> list[Tensor]:
    return [by_formula(4, *shape) for shape in ((2, 16, 16), (4, 8, 8), (6, 4, 4), (8, 2, 2))]


def tokens(count: int) -> list[Tensor]:
    return [by_formula(4, count, 8) + shift for shift in range(4)]


def ofa(**options) -> OFA:
    given = {"stages": STAGES, "embeddings": [["pool", "pool"]], "eps": 1.0, "T": 2.0}
    return OFA(**{**given, "stage_weight": 1.0, "logit_weight": 1.0, "weight": 1.0, **options})


def with_features(output: Output, dim: int, stages: list[Tensor]) -> Output:
    features = dict(zip(STAGES, stages, strict=False)) | {"pool": torch.zeros(4, dim).double()}
    return Output(output.logits, features)


def fill(module: nn.Module) -> None:
    for k, parameter in enumerate(module.parameters()):
        n = torch.arange(parameter.numel()).double()
        parameter.data = (0.2 * torch.sin(1.7 * n + k) + 0.05).view(parameter.shape)


@pytest.fixture
def case(student, teacher):
    """``case(maps(), **options)``: the term, set up, and what it is called with."""

    def made(stages, teacher_dim=6, prefix=0, **options):
        term = ofa(**{"eps": EPS} | options)
        term.prefix = prefix
        outputs = with_features(student, 8, stages), with_features(teacher, teacher_dim, [])
        term.setup(*outputs, torch.arange(4))
        fill(term.heads)
        return term, *outputs

    return made


@pytest.mark.parametrize(
    ("eps", "T", "value", "slope"),
    [
        (1.0, 1.0, 1.0127670878, 0.0005396624),
        (1.5, 1.0, 1.1827822355, 0.0004292600),
        (1.2, 4.0, 1.2437332071, -0.0009057073),
    ],
)
def test_golden_values_of_the_loss(student, teacher, batch, eps, T, value, slope) -> None:
    """``slope`` is the gradient of the second image's labelled class."""
    logits = student.logits.requires_grad_()
    loss = ofa_loss(logits, teacher.logits, batch.labels, T, eps)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(value, abs=1e-9)
    assert gradient[1, 3].item() == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize(
    ("stages", "teacher_dim", "prefix", "value", "slopes"),
    [
        pytest.param(
            maps(),
            6,
            0,
            6.3554955674,
            [0.0088323509, 0.1746895338, 0.085080273, 0.0541548961],
            id="maps",
        ),
        pytest.param(
            tokens(17),
            12,
            1,
            5.6766137905,
            [0.29458778, 0.392055778, 0.3083319128, 0.3219349746],
            id="class_token",
        ),
        pytest.param(
            tokens(197),
            12,
            1,
            6.2630088148,
            [0.4137643791, 0.3950754622, 0.3652310479, 0.3391987971],
            id="merged",
        ),
        pytest.param(
            tokens(16),
            12,
            0,
            5.6894923533,
            [0.2910389341, 0.3854866112, 0.3049016078, 0.3158705929],
            id="mean",
        ),
    ],
)
def test_golden_values_of_the_stages(
    case, batch, stages, teacher_dim, prefix, value, slopes
) -> None:
    """``slopes`` are the sums of the absolute gradients of the stages."""
    stages = [stage.requires_grad_() for stage in stages]
    term, student, teacher = case(stages, teacher_dim, prefix, logit_weight=0.0)
    summed = term(student, teacher, batch)
    gradients = torch.autograd.grad(summed, stages)
    assert summed.item() == pytest.approx(value, abs=1e-9)
    sums = [gradient.abs().sum().item() for gradient in gradients]
    assert sums == pytest.approx(slopes, abs=1e-9)


def test_the_two_parts_have_weights_and_the_last_eps_is_that_of_the_logits(case, batch) -> None:
    both, logits, stages = (
        term(*outputs, batch)
        for term, *outputs in (
            case(maps(), stage_weight=2.0, logit_weight=3.0),
            case(maps(), stage_weight=0.0),
            case(maps(), logit_weight=0.0),
        )
    )
    torch.testing.assert_close(both, 2 * stages + 3 * logits)
    _, student, teacher = case(maps())
    alone = ofa_loss(student.logits, teacher.logits, batch.labels, 2.0, EPS[-1])
    torch.testing.assert_close(logits, alone)


def test_eps_1_is_the_cross_entropy_with_the_teachers_predictions(student, teacher, batch) -> None:
    value = ofa_loss(student.logits, teacher.logits, batch.labels, 1.0, 1.0)
    p, log_q = teacher.logits.softmax(1), student.logits.log_softmax(1)
    torch.testing.assert_close(value, -(p * log_q).sum(1).mean())


def test_mixed_images_have_the_label_of_the_larger_share(case, batch) -> None:
    term, student, teacher = case(maps())
    mixed = batch._replace(mixed=MixedLabels(batch.labels.flip(0), 0.6))
    assert torch.equal(term(student, teacher, mixed), term(student, teacher, batch))
    assert not OFA.needs_labels


def test_gradients_reach_the_student_and_the_heads_but_not_the_teacher(case, batch) -> None:
    stages = [stage.requires_grad_() for stage in maps()]
    term, student, teacher = case(stages)
    teacher.logits.requires_grad_(), student.logits.requires_grad_()
    term(student, teacher, batch).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in (*stages, student.logits))
    assert all(parameter.grad is not None for parameter in term.parameters())
    assert teacher.logits.grad is None


def test_heads_on_maps_are_as_wide_as_the_wider_embedding(case) -> None:
    for teacher_dim, width in ((6, 8), (12, 12)):
        term, *_ = case(maps(), teacher_dim)
        assert {head[-1].in_features for head in term.heads} == {width}


def test_the_number_of_class_tokens_is_read_from_the_network() -> None:
    network = nn.Identity()
    term = ofa()
    term.prepare_student(network)
    assert term.prefix == 0
    network.num_prefix_tokens = 2
    network.cls_token = torch.zeros(1, 1, 4)
    term.prepare_student(network)
    assert term.prefix == 2
    network.cls_token = None  # registers, of which timm has networks, come first then
    with pytest.raises(ValueError, match="stages must be of a student whose first learned token"):
        term.prepare_student(network)


def test_in_a_notebook_it_takes_logits_then_features_and_is_set_up_once(student, teacher) -> None:
    labels = torch.arange(4)
    term = ofa()
    given = [student.logits, *maps(), torch.zeros(4, 8)], [teacher.logits, torch.zeros(4, 6)]
    first = compute_loss(term, *given, labels)
    heads = list(term.heads)
    assert torch.equal(compute_loss(term, *given, labels), first)
    assert [a is b for a, b in zip(heads, term.heads, strict=True)] == [True] * 4


def test_a_step_before_setup_is_an_error(student, teacher, batch: Batch) -> None:
    with pytest.raises(RuntimeError, match=r"OFA.setup must be called before the first batch"):
        ofa()(student, teacher, batch)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stages": []}, "stages must be a list of module paths of the student, at least one, got"),
        ({"stages": None}, "stages must be a list of module paths .* got null"),
        ({"stages": "stage1"}, "stages must be a list of module paths .* got stage1"),
        ({"embeddings": [["a", "b"]] * 2}, r"embeddings must be \[\[student_feature, teacher_"),
        ({"eps": 0}, r"eps must be a number in \(0, 100\], or a list of .* logits, 5, got 0"),
        ({"eps": [1.0] * 4}, r"eps must be .* 5, got \[1, 1, 1, 1\]"),
        ({"eps": "one"}, "eps must be .*, got one"),
        ({"T": 0}, "T must be a number from 1e-6 to 1e6, got 0"),
        ({"stage_weight": -1}, "stage_weight must be a finite number >= 0, got -1"),
        ({"logit_weight": -1}, "logit_weight must be a finite number >= 0, got -1"),
    ],
)
def test_other_options_are_refused(options, sentence) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        ofa(**options)


def test_a_stage_without_positions_is_refused_by_its_name(case) -> None:
    sentence = r"stages \[stage2\]: features must be maps or rows of tokens, got \(B, 3\)"
    with pytest.raises(ValueError, match=sentence):
        case([maps()[0], torch.zeros(4, 3).double(), *maps()[2:]])


def test_a_network_without_stages_is_refused_with_the_key(refusal) -> None:
    sentence = "loss.ofa.stages must be a list of module paths of the student, at least one, got []"
    assert refusal("loss=ofa", "student=mlp") == sentence
