"""Objects from config nodes: as Hydra makes them, and each with values of its own."""

from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.config.allow import execution_whitelist
from kdsweep.errors import UserError

OPTIMIZER = {"_target_": "torch.optim.AdamW", "_partial_": True, "betas": [0.5, 0.9]}
MODEL = {"_target_": "kdsweep.models.mlp.MLP", "width": 8, "dropout": 0.0}
GIVEN = {"in_shape": (1, 8, 8), "num_classes": 10}


def test_a_plain_node_is_made_as_hydra_makes_it() -> None:
    torch.manual_seed(0)
    ours = instantiate_node(MODEL, "student.model", **GIVEN)
    torch.manual_seed(0)
    theirs = instantiate(MODEL, **GIVEN, _execution_whitelist_=execution_whitelist())
    assert str(ours) == str(theirs)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


def test_a_partial_is_called_with_the_rest() -> None:
    recipe = instantiate_node(OPTIMIZER, "optimizer", _later=("params",))
    optimizer = recipe([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["lr"] == 0.5
    assert list(optimizer.defaults["betas"]) == [0.5, 0.9]


def test_objects_share_no_list_with_the_config_or_each_other() -> None:
    first, second = (
        instantiate_node(OPTIMIZER, "optimizer", _later=("params",)).keywords for _ in range(2)
    )
    first["betas"][0] = 0.1
    assert second["betas"] == OPTIMIZER["betas"] == [0.5, 0.9]


def test_what_is_not_allowed_stays_refused_after_it_was_made() -> None:
    instantiate_node(MODEL, "student.model", **GIVEN)
    with pytest.raises(UserError, match=r"^student\.model"):
        instantiate_node(MODEL, "student.model", _allowed=("torch.optim.*",), **GIVEN)


@pytest.mark.parametrize("value", [None, 1, "true"])
def test_a_partial_is_true_or_false(value: Any) -> None:
    with pytest.raises(UserError, match=r"student\.model.*_partial_"):
        instantiate_node({**MODEL, "_partial_": value}, "student.model", **GIVEN)
