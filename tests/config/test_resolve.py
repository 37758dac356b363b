import pytest
from commands import Compose
from omegaconf import OmegaConf

from kdsweep.config.resolve import hide_passwords, resolve_config
from kdsweep.errors import UserError


@pytest.mark.ci
def test_terms_follow_the_root_and_those_of_a_recipe_the_recipe(compose: Compose) -> None:
    cfg = compose("T=2", "alpha=0.3", "loss=kl", "teacher=assistant", "teacher.T=8")
    config = resolve_config(cfg)
    assert (config.loss["kl"]["T"], config.loss["kl"]["weight"]) == (2, 0.3)
    assert config.teacher.loss["kl"]["T"] == 8
    assert config.alpha_weighted
    assert config.teacher.alpha_weighted


def test_a_teacher_born_again_is_the_student_with_its_optimizer(compose: Compose) -> None:
    config = resolve_config(
        compose("teacher=born_again", "student.model.width=12", "optimizer=adamw")
    )
    assert config.teacher.model == config.student.model
    assert config.teacher.optimizer == config.optimizer


def test_a_peer_has_the_options_of_the_student_that_it_leaves_out(compose: Compose) -> None:
    words = ["teacher=peers", "loss=kl", "student=cnn", "student.model.width=12"]
    peers = resolve_config(compose(*words)).teacher.peers
    assert peers
    assert all(peer.model["width"] == 12 for peer in peers.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=${nope}"], "optimizer.lr must refer to a key, got ${nope}"),
        (["+stages.first.loss={}"], "stages.first.epochs must be given"),
        (["+teacher.members.a=3"], "teacher.members.a must be a mapping of options, got 3"),
        (["+teacher.peers.a=3"], "teacher.peers.a must be a mapping of options, got 3"),
        (["+stages.first=3"], "stages.first must be a mapping of options, got 3"),
        (["+teacher.members.a={widht:3}"], "teacher.members.a.widht"),
    ],
)
def test_what_cannot_be_resolved_is_refused_by_its_key(
    compose: Compose, words: list[str], message: str
) -> None:
    cfg = compose(*words)
    with pytest.raises(UserError) as caught:
        resolve_config(cfg)
    assert str(caught.value).startswith(message)


def test_passwords_are_taken_out_before_hydra_writes_the_config(compose: Compose) -> None:
    cfg = compose("tracking.uri='http://me:secret@server:5000'", "tracking.experiment=${loss}")
    hide_passwords(cfg)
    text = OmegaConf.to_yaml(cfg)
    assert "secret" not in text
    assert "server:5000" in text
    assert "${loss}" in text, "interpolations stay"
