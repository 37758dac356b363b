"""Weights to start from: in any wrapper, for other classes; the head alone may differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdsweep.models.components.head import head_tensors
from kdsweep.training.weight_match import load_file_into

State = dict[str, Tensor]


class Network(nn.Module):
    """Two layers, and a head for some classes."""

    def __init__(self, classes: int, head: nn.Module | None = None) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.fc = head or nn.Linear(4, classes)


def network(classes: int, seed: int, head: nn.Module | None = None) -> Network:
    torch.manual_seed(seed)
    return Network(classes, head)


def state(classes: int = 7) -> State:
    return dict(network(classes, seed=1).state_dict())


def started(folder: Path, content: Any, classes: int = 3) -> tuple[str, Network]:
    """How a file of this content was read, and the network that starts from it."""
    path = folder / "model.pt"
    torch.save(content, path)
    model = network(classes, seed=2)
    line = load_file_into(model, str(path), head_tensors(model, classes))
    return (line or "").replace(str(path), "FILE"), model


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "DataParallel": lambda given: {f"module.{name}": t for name, t in given.items()},
    "compile": lambda given: {f"_orig_mod.{name}": t for name, t in given.items()},
    "both": lambda given: {f"module._orig_mod.{name}": t for name, t in given.items()},
    "Lightning": lambda given: {
        "state_dict": {f"model.{name}": t for name, t in given.items()},
        "epoch": 3,
    },
    "net": lambda given: {"state_dict": {f"net.{name}": t for name, t in given.items()}},
    "model": lambda given: {"model": given, "optimizer": {"state": {}}},
    "model_ema": lambda given: {"model_ema": given},
    "plain": lambda given: given,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_all_but_the_head_is_loaded_from_every_wrapper(tmp_path: Path, wrapper: str) -> None:
    given = state()
    line, model = started(tmp_path, WRAPPERS[wrapper](given))
    for name, tensor in model.state_dict().items():
        expected = torch.zeros_like(tensor) if name.startswith("fc.") else given[name]
        assert torch.equal(tensor, expected), name
    assert line.endswith(
        "head dropped: 2 tensors ('fc.weight', 'fc.bias'), head of zeros instead: 2 tensors"
        " ('fc.weight', 'fc.bias')"
    )


def test_a_head_of_the_same_classes_is_loaded(tmp_path: Path) -> None:
    line, model = started(tmp_path, state(3))
    assert line == ""
    assert torch.equal(model.fc.weight, state(3)["fc.weight"])


def test_a_file_without_a_head_leaves_a_new_one(tmp_path: Path) -> None:
    given = {name: tensor for name, tensor in state().items() if not name.startswith("fc.")}
    line, model = started(tmp_path, given)
    assert line == "read FILE, head of zeros instead: 2 tensors ('fc.weight', 'fc.bias')"
    assert torch.equal(model.stem.weight, given["stem.weight"])
    assert not model.fc.weight.any()


def test_a_head_of_another_form_is_dropped(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 7))
    line, model = started(tmp_path, network(7, 1, head).state_dict())
    assert "head dropped: 4 tensors ('fc.0.weight', 'fc.0.bias' and 2 more)" in line
    assert not model.fc.weight.any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stem.weight": torch.zeros(5, 1, 3, 3)}, "'stem.weight' of shape"),
        ({"fc.weight": torch.zeros(7, 9)}, r"has 'fc.weight' of shape \(7, 9\)"),
        ({"more.weight": torch.zeros(2)}, "has 'more.weight', which the model lacks"),
    ],
)
def test_nothing_else_may_differ(tmp_path: Path, change: State, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        started(tmp_path, state() | change)


def test_a_layer_may_not_be_missing(tmp_path: Path) -> None:
    given = state()
    del given["stem.weight"]
    with pytest.raises(ValueError, match=r"lacks 'stem\.weight', which the model has"):
        started(tmp_path, given)


def test_averaged_weights_that_differ_are_not_chosen_silently(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in state().items()}
    with pytest.raises(ValueError, match=r"'state_dict' and 'state_dict_ema' fit and differ"):
        started(tmp_path, {"state_dict": state(), "state_dict_ema": other})


def test_without_a_head_to_leave_all_must_fit(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"has 'fc\.bias' of shape \(7,\), the model needs \(3,\)"):
        load_file_into(network(3, seed=2), str(tmp_path / "model.pt"))
