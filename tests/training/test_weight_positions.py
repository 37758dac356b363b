"""Weights in the order of a network's tensors, under the names of another implementation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdsweep.models.components.head import head_tensors
from kdsweep.training.weight_positions import load_by_position


def network(classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, classes))


def renamed(classes: int = 3) -> dict[str, Tensor]:
    """The tensors of a network under other names, in its order."""
    return {f"_layer{n}": t for n, t in enumerate(network(classes).state_dict().values())}


def loaded(
    folder: Path, content: Any, part: str = "", head: bool = False
) -> tuple[str, nn.Sequential]:
    path, model = folder / "model.pt", network(seed=9)
    torch.save(content, path)
    line = load_by_position(model, f"{path}{part}", head_tensors(model, 3) if head else ())
    return line.replace(str(path), "FILE"), model


def refused(folder: Path, content: Any, part: str = "") -> str:
    with pytest.raises(ValueError, match="must ") as caught:
        loaded(folder, content, part)
    return str(caught.value).replace(str(folder / "model.pt"), "FILE")


def test_tensors_are_loaded_in_their_order_and_the_line_has_the_names(tmp_path: Path) -> None:
    line, model = loaded(tmp_path, {"epoch": 1, "state_dict": renamed()})
    assert line == (
        "read FILE ('state_dict'), 9 tensors by position, from '_layer0' as '0.weight' to '_layer8'"
        " as '3.bias'"
    )
    for own, given in zip(model.state_dict().values(), renamed().values(), strict=True):
        assert torch.equal(own, given)


def test_counters_of_batchnorm_may_be_missing(tmp_path: Path) -> None:
    given = {name: t for name, t in renamed().items() if t.ndim}
    _, model = loaded(tmp_path, given)
    assert torch.equal(model[3].weight, network()[3].weight)
    assert model[1].num_batches_tracked == 0


def test_a_head_of_other_classes_is_0(tmp_path: Path) -> None:
    line, model = loaded(tmp_path, renamed(classes=7), head=True)
    assert "head dropped: 2 tensors ('_layer7', '_layer8')" in line
    assert torch.equal(model[0].weight, network()[0].weight)
    assert not model[3].weight.any()


def test_another_shape_is_named_with_its_place(tmp_path: Path) -> None:
    given = renamed() | {"_layer0": torch.zeros(2, 1, 5, 5)}
    assert refused(tmp_path, given) == (
        "must have the network's shapes in its order, got FILE, in which tensor 1, '_layer0' for"
        " '0.weight', has (2, 1, 5, 5) float32 instead of (2, 1, 3, 3) float32"
    )


def test_a_head_of_other_classes_is_refused_where_all_must_fit(tmp_path: Path) -> None:
    assert "tensor 8, '_layer7' for '3.weight', has (7, 2)" in refused(tmp_path, renamed(7))


def test_another_number_of_tensors_is_refused(tmp_path: Path) -> None:
    given = renamed()
    del given["_layer0"], given["_layer1"]
    assert "as many tensors as the network, 9, to be matched by position" in refused(
        tmp_path, given
    )


def test_one_of_two_mappings_is_selected(tmp_path: Path) -> None:
    other = {name: t + 1 for name, t in renamed().items()}
    both = {"plain": renamed(), "averaged": other}
    assert "'plain' and 'averaged' have 9 tensors each and differ" in refused(tmp_path, both)
    _, model = loaded(tmp_path, both, ":averaged")
    assert torch.equal(model[3].bias, other["_layer8"])
    assert refused(tmp_path, both, ":none").startswith("must name a mapping of tensors in FILE,")
