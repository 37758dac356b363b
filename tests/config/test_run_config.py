import copy
from dataclasses import asdict
from typing import Any

import pytest
from commands import Compose

from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import RunConfig, from_values, public_values, run_config, to_values
from kdsweep.config.schema import DatasetConfig, TeacherConfig


def test_values_come_back_as_they_were(compose: Compose) -> None:
    config = resolve_config(compose("teacher=ensemble", "+optimizer.note=mine", "stages=hints"))
    values = to_values(config)
    assert values["optimizer"]["note"] == "mine", "a key that the schema lacks stays in its place"
    assert run_config(values) == config
    assert to_values(run_config(values)) == values


def test_plain_values_are_those_of_dataclasses_without_copies_of_each_number(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve_config(compose("teacher=ensemble", "stages=hints"))
    wanted = asdict(config.teacher)

    def copied(*_: Any) -> None:
        pytest.fail("a run needs its plain values ten times")

    monkeypatch.setattr(copy, "deepcopy", copied)
    values = to_values(config)
    assert values["teacher"] == wanted
    assert values["teacher"]["members"] is not config.teacher.members


def test_nodes_are_typed(compose: Compose) -> None:
    config = resolve_config(compose("teacher=ensemble"))
    assert isinstance(config, RunConfig)
    assert isinstance(config.dataset, DatasetConfig)
    assert config.teacher.members
    assert all(isinstance(member, TeacherConfig) for member in config.teacher.members.values())


def test_config_yaml_has_no_derived_values(compose: Compose) -> None:
    config = resolve_config(compose("loss=kl"))
    assert to_values(config)["alpha_weighted"] is True
    assert "alpha_weighted" not in public_values(config)
    assert "alpha_weighted" not in public_values(config)["teacher"]


def test_a_node_from_values_has_the_defaults_of_the_rest() -> None:
    assert from_values(TeacherConfig, {"seed": 3}) == TeacherConfig(seed=3)
