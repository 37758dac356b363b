"""The configs of the runs below a run: teachers' recipes, generations, peers."""

from dataclasses import replace

from commands import Compose

from kdsweep.config.recipes import online_recipe, single_teachers, teacher_recipe
from kdsweep.config.resolve import resolve_config


def test_terms_of_a_recipe_follow_the_recipe_and_not_the_root(compose: Compose) -> None:
    words = ["teacher=assistant", "loss@teacher.loss=[kl,at]", "student=mlp", "T=9", "alpha=0.1"]
    teacher = resolve_config(compose(*words, "teacher.alpha=0.7", "teacher.T=2")).teacher
    assert (teacher.loss["kl"]["T"], teacher.loss["kl"]["weight"]) == (2, 0.7)
    assert teacher.loss["at"]["pairs"] == [[f"stage{n}", f"stage{n}"] for n in (1, 2, 3)]
    assert teacher.alpha_weighted


def test_a_generation_follows_the_student_but_not_its_seed(compose: Compose) -> None:
    words = ["teacher=next_generation", "student=cnn", "optimizer.lr=0.3", "trainer.epochs=7"]
    config = resolve_config(compose(*words, "seed=5"))
    for recipe in (config.teacher, config.teacher.teacher):
        for key in ("optimizer", "schedule", "trainer"):
            assert getattr(recipe, key) == getattr(config, key)
        assert recipe.model == config.student.model
    assert [recipe.seed, config.teacher.seed, 5] == [1000, 1001, 5]


def test_pairs_are_those_of_each_peer(compose: Compose) -> None:
    words = ["teacher=peers", "loss=fitnet", "student=mlp", "+student@teacher.peers.second=cnn"]
    config = resolve_config(compose(*words))
    assert config.loss["fitnet"]["pairs"] == [["hidden2", "pool"]]
    second = config.teacher.peers["second"]
    assert second.loss["fitnet"]["pairs"] == [["pool", "hidden2"]]


def test_a_peer_is_like_the_student_unless_it_is_configured_otherwise(compose: Compose) -> None:
    words = ["teacher=peers", "student.model.width=11", "+student@teacher.peers.third=cnn"]
    config = resolve_config(compose(*words, "teacher.peers.third.model.width=5"))
    second, third = config.teacher.peers.values()
    assert second.model == config.student.model
    assert (third.name, third.model["width"]) == ("cnn", 5)
    assert config.student.model["width"] == 11


def test_the_teacher_follows_no_key_of_the_root(compose: Compose) -> None:
    plain = compose()
    other = compose("optimizer=sgd", "trainer.epochs=3", "seed=4", "schedule=constant")
    assert plain.teacher == other.teacher


def test_a_teacher_is_trained_on_one_view_and_an_online_one_on_those_of_its_students(
    compose: Compose,
) -> None:
    config = resolve_config(compose("dataset.augment.strong_view=2", "dataset.augment.flip=true"))
    recipe = teacher_recipe(single_teachers(config)["teacher"])
    assert recipe.dataset.augment == replace(config.dataset.augment, strong_view=0)
    online = resolve_config(compose("dataset.augment.strong_view=2", "teacher.online=true"))
    trained = online_recipe(online)
    assert trained is not None
    assert trained.dataset.augment.strong_view == 2
