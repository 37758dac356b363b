"""A student before its first step: its weights follow from its seed and from nothing else."""

import pytest
import torch
from commands import TINY, Compose

from kdsweep.builders.data import build_dataset
from kdsweep.builders.losses import objective_requirements
from kdsweep.builders.models import build_network, build_teacher_network, extract_features
from kdsweep.builders.students import build_student, build_student_network
from kdsweep.config.resolve import resolve_config
from kdsweep.errors import UserError
from kdsweep.training.student import Student


@pytest.fixture
def student(compose: Compose):
    """`student("seed=1")`: the student of a run of these words, with an untrained teacher."""

    def build(*words: str) -> Student:
        words = tuple(word for word in (*TINY, *words) if "=" in word)
        config = resolve_config(compose(*words))
        dataset = build_dataset(config.dataset, "cpu")
        network = build_network(dataset, config.teacher.model, "teacher")
        features = objective_requirements(config).teacher_features
        teacher = extract_features(network, ["pool", *features], "teacher", dataset)
        return build_student(config, dataset, [teacher], steps_per_epoch=5)

    return build


def weights(student: Student) -> torch.Tensor:
    """One vector of all, in whichever memory format each is."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in student.model.parameters()])


@pytest.mark.parametrize("words", [["loss=mse"], ["loss=[kl,fitnet]"], ["T=9"], ["optimizer=sgd"]])
def test_what_does_not_reach_the_network_leaves_its_first_weights(
    student, words: list[str]
) -> None:
    assert torch.equal(weights(student(*words)), weights(student()))


def test_another_seed_is_another_network(student) -> None:
    assert not torch.equal(weights(student("seed=1")), weights(student("seed=0")))


def test_a_term_of_its_own_is_the_same_with_any_other_term(student) -> None:
    alone, both = student("loss=fitnet"), student("loss=[fitnet,mse]")
    first, second = (
        torch.nn.utils.parameters_to_vector(one.objective.terms["fitnet"].parameters())
        for one in (alone, both)
    )
    assert len(first)
    assert torch.equal(first, second)


def test_the_optimizer_trains_the_network_and_the_terms(student) -> None:
    fitnet = student("loss=fitnet")
    trained = {id(p) for group in fitnet.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in (*fitnet.model.parameters(), *fitnet.objective.parameters())}
    assert len(trained) > len(list(fitnet.model.parameters()))


@pytest.mark.parametrize(("loss", "distilled"), [("deit", True), ("kl", False)])
def test_a_term_of_the_distillation_head_puts_the_network_in_distilled_training(
    student, loss: str, distilled: bool
) -> None:
    """Whenever it is built: a resumed run is, too."""
    words = ["student=vit_tiny_distilled", "student.model.width=6", "student.model.depth=1"]
    assert student(f"loss={loss}", *words).model.distilled_training is distilled


@pytest.mark.parametrize(("words", "derived"), [((), True), (("teacher.online=true",), False)])
def test_margins_are_derived_from_the_batch_norms_of_a_trained_teacher(
    student, words: tuple[str, ...], derived: bool
) -> None:
    links = student("loss=ofd", "student=cnn", *words).objective.terms["ofd"].links
    assert [link.margins is not None for link in links] == [derived] * 3


def test_a_student_of_simkd_begins_with_the_classifier_of_its_teacher(compose: Compose) -> None:
    words = ("loss=simkd", "student=simkd", "student.model.channels=16", "teacher.model.width=4")
    network = ("student@student.model.network=cnn", "student.model.network.model.width=4")
    config = resolve_config(compose(*words, *network, "hard_weight=0"))
    dataset = build_dataset(config.dataset, "cpu")
    teacher = build_teacher_network(config.teacher.model, 0, dataset, ["pool:input"])
    built = build_student(config, dataset, [teacher], steps_per_epoch=5)
    assert torch.equal(built.model.head.weight, teacher.model.head.weight)
    assert torch.equal(built.model.head.bias, teacher.model.head.bias)
    trained = {id(p) for group in built.optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in built.model.head.parameters()}
    assert trained == {id(p) for p in built.model.parameters() if p.requires_grad}
    assert built.num_params == sum(p.numel() for p in built.model.parameters()) - 170


def test_a_student_that_awaits_a_classifier_is_refused_without_simkd(compose: Compose) -> None:
    config = resolve_config(compose("loss=kl", "student=simkd"))
    dataset = build_dataset(config.dataset, "cpu")
    sentence = r"^student\.model must be trained with loss=simkd, which gives it .*, got loss kl$"
    with pytest.raises(UserError, match=sentence):
        build_student_network(config, dataset)
