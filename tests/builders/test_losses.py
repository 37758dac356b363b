"""The objective of a run: what its terms require, and the seeds that they are built after."""

import pytest
import torch
from commands import Compose

from kdsweep.builders.losses import build_objective, init_seed, objective_requirements
from kdsweep.config.recipes import online_recipe, peer_recipes
from kdsweep.config.resolve import resolve_config
from kdsweep.errors import UserError


@pytest.mark.parametrize(
    ("words", "teacher", "student_features", "teacher_features"),
    [
        (["loss=ce"], False, (), ()),
        (["loss=kl"], True, (), ()),
        (["loss=tfkd", "teacher=none"], False, (), ()),
        (["loss=[kl,fitnet]", "student=mlp"], True, ("hidden2",), ("pool",)),
        (["loss=at", "student=cnn"], True, *2 * [("stage1", "stage2", "stage3")]),
    ],
)
def test_the_terms_of_a_run_name_what_they_require(
    compose: Compose,
    words: list[str],
    teacher: bool,
    student_features: tuple[str, ...],
    teacher_features: tuple[str, ...],
) -> None:
    config = resolve_config(compose(*words))
    required = objective_requirements(config)
    assert required.needs_teacher is teacher
    assert set(required.teacher_features) == set(teacher_features)
    assert set(build_objective(config).student_features) == set(student_features)


def test_building_terms_leaves_the_random_state_as_it_was(compose: Compose) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build_objective(resolve_config(compose("loss=[kl,fitnet]")))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        (["loss=kl", "alpha=0.25"], {"ce": 0.75, "kl": 0.25}),
        (["loss=kl", "alpha=0.25", "hard_weight=2"], {"ce": 2, "kl": 0.25}),
        (["loss=fitnet", "alpha=0.25", "loss.fitnet.weight=7"], {"ce": 1, "fitnet": 7}),
    ],
)
def test_alpha_reaches_the_terms_that_follow_it_and_the_labels(
    compose: Compose, words: list[str], weights: dict[str, float]
) -> None:
    assert build_objective(resolve_config(compose(*words))).weights_in(0) == weights


def test_one_class_a_label_is_needed_by_some_terms(compose: Compose) -> None:
    config = resolve_config(compose("loss=dkd", "dataset.augment.mixup=0.2"))
    with pytest.raises(UserError, match=r"dataset\.augment.mixup must be 0 with loss.dkd"):
        build_objective(config)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["teacher.online=true"], "teacher.online must be false with loss.srrl, which reads"),
        (["teacher=peers"], "teacher.peers must be empty with loss.srrl, which reads a trained"),
    ],
)
def test_the_weights_of_a_trained_teacher_are_needed_by_some_terms(
    compose: Compose, words: list[str], sentence: str
) -> None:
    build_objective(resolve_config(compose("loss=srrl")))
    with pytest.raises(UserError, match=f"^{sentence}.*, got (true|second)$"):
        build_objective(resolve_config(compose("loss=srrl", *words)))


def test_the_weights_of_one_teacher_are_needed_by_some_terms(compose: Compose) -> None:
    words = ("loss=simkd", "student=cnn", "teacher=ensemble")
    with pytest.raises(UserError, match=r"^teacher\.members must be empty with loss\.simkd, which"):
        build_objective(resolve_config(compose(*words)))


def test_no_network_of_a_run_begins_with_the_seed_of_another(compose: Compose) -> None:
    peers = resolve_config(compose("teacher=peers", "seed=5"))
    online = online_recipe(resolve_config(compose("teacher.online=true", "seed=5")))
    assert online is not None
    seeds = [init_seed(config) for config in (peers, *peer_recipes(peers).values(), online)]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    again = resolve_config(compose("teacher=peers", "seed=5"))
    assert [init_seed(config) for config in peer_recipes(again).values()] == seeds[1:2]
