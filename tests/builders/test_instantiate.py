"""Objects made of plain nodes are what Hydra makes of them, and no others are made."""

from typing import Any

import pytest
import torch

from kdsweep.builders import instantiate
from kdsweep.builders.instantiate import instantiate_node
from kdsweep.errors import UserError
from kdsweep.models.mlp import MLP

NODE = {"_target_": "kdsweep.models.mlp.MLP", "width": 8, "dropout": 0.0}
GIVEN = {"in_shape": (1, 2, 2), "num_classes": 3}
KL = {"_target_": "kdsweep.losses.kl.KL", "T": 4.0, "standardize": False, "weight": 0.5}


@pytest.fixture(params=["plainly", "by Hydra"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How objects are made."""
    if request.param == "by Hydra":
        monkeypatch.setattr(instantiate, "_is_plain", lambda node, allowed: False)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_either_way_makes_the_same() -> None:
    torch.manual_seed(0)
    model = instantiate_node(NODE, "student.model", **GIVEN)
    torch.manual_seed(0)
    expected = MLP(width=8, dropout=0.0, in_shape=(1, 2, 2), num_classes=3)
    assert type(model) is MLP
    for own, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(own, other)
    adam = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1}
    recipe = instantiate_node(adam, "optimizer")
    assert (recipe.func, recipe.args, recipe.keywords) == (torch.optim.Adam, (), {"lr": 0.1})


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({**KL, "T": -1.0}, "loss.kl.T must be a number from"),
        ({**KL, "T": "hot"}, "loss.kl.T must be a number from"),
        ({**KL, "depth": 1}, "loss.kl.depth must be one of"),
        ({"_target_": "kdsweep.models.mlp.nn.ReLU"}, "loss.kl"),
    ],
)
def test_either_way_refuses_the_same(node: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        instantiate_node(node, "loss.kl")


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "kdsweep.models.mlp.nn.ReLU"},  # of torch
        {**NODE, "width": "${oc.env:HOME}"},
        {**NODE, "width": {"_target_": "builtins.int"}},
        {**NODE, "_args_": [1]},
    ],
)
def test_what_needs_a_closer_look_is_left_to_hydra(node: dict[str, Any]) -> None:
    assert not instantiate._is_plain(node, instantiate.EXECUTION_WHITELIST)
    assert instantiate._is_plain(NODE, instantiate.EXECUTION_WHITELIST)
    assert not instantiate._is_plain(NODE, ["kdsweep.losses.*"])
