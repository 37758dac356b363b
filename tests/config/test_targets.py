"""Every node that an object is made of names its class."""

import pytest
from commands import Compose

from kdsweep.config.resolve import resolve_config
from kdsweep.config.targets import target_errors


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("~loss.kl._target_", "loss.kl._target_ must be the path of a class, got none"),
        ("optimizer._target_=null", "optimizer._target_ must be the path of a class, got null"),
        ("~schedule._target_", "schedule._target_ must be the path of a class, got none"),
        ("~student.model._target_", "student.model._target_ must be the path of a class, got none"),
        ("dataset.source._target_=3", "dataset.source._target_ must be the path of a class, got 3"),
        ("teacher.optimizer._target_=''", "teacher.optimizer._target_ must be the path of a class"),
        ("loss.kl=3", "loss.kl must be a term's options, got 3"),
        ("+stages.a={epochs:1,loss:{kl:{T:4}}}", "stages.a.loss.kl._target_ must be the path of"),
    ],
)
def test_a_node_without_a_class(compose: Compose, word: str, sentence: str) -> None:
    (found,) = target_errors(resolve_config(compose(word)))
    assert found.startswith(sentence)


@pytest.mark.ci
def test_recipes_may_leave_nodes_empty(compose: Compose) -> None:
    for words in ([], ["loss=ce", "teacher=none"], ["teacher=assistant"], ["teacher=peers"]):
        assert target_errors(resolve_config(compose(*words))) == []
    assert target_errors(resolve_config(compose("stages=hints", "loss=[kl,fitnet]"))) == []
