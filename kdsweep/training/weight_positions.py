"""Weights by position into a network: the tensors of a file in the order of the network's own.

For files whose names are those of another implementation of the same network, with its layers in
the same order. Shapes are compared, names are not: two tensors of one shape in another order, such
as the weight and the bias of a BatchNorm, are not noticed.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.training.weight_files import read_weight_file
from kdsweep.training.weight_fit import COUNTER, fit_weights
from kdsweep.training.weight_match import mappings, new_head, split_selection, zeros


def load_by_position(model: nn.Module, word: str, head: Collection[str] = ()) -> str:
    """Load the tensors of a file, or of the part of it that the word selects, in their order.

    There must be one for each tensor of the model, in its order; the counters of BatchNorm may be
    left out. ``head``: the names of those tensors of the model that become 0 where the file has
    them for another number of classes.

    Returns how the file was read. Raises ValueError, naming the first tensor that does not fit.
    """
    path, selected = split_selection(word)
    place, tensors = _largest(read_weight_file(path).tree, path, selected)
    in_file = f"{path} ({place!r})" if place else str(path)
    own = model.state_dict()
    names = list(own)
    if len(tensors) != len(names):
        names = [name for name in own if not name.endswith(COUNTER)]
    if len(tensors) != len(names):
        raise ValueError(
            f"must have as many tensors as the network, {len(own)}, to be matched by position, got"
            f" {in_file} with {len(tensors)}"
        )
    pairs = dict(zip(names, tensors, strict=True))
    dropped = {
        name
        for name in head
        if name in pairs and _is_of_other_classes(own[name], tensors[pairs[name]])
    }
    weights = {name: tensors[given] for name, given in pairs.items() if name not in dropped}
    for number, (name, given) in enumerate(pairs.items(), start=1):
        if name in weights:
            _check(own[name], tensors[given], f"tensor {number}, {given!r} for {name!r},", in_file)
    fit_weights(model, {**own, **zeros(own, dropped), **weights}, in_file)
    first, last = names[0], names[-1]
    by_position = (
        f"{len(tensors)} tensors by position, from {pairs[first]!r} as {first!r} to"
        f" {pairs[last]!r} as {last!r}"
    )
    kept = [name for name in names if name in dropped]
    head_line = new_head(kept, [pairs[name] for name in kept])
    return ", ".join([f"read {in_file}", by_position, *head_line])


def _largest(tree: Any, path: Path, selected: str | None) -> tuple[str, Mapping[str, Tensor]]:
    """The mapping of a file with most tensors, and its place; only the selected one.

    Raises ValueError if there is none, or another one of its size with other weights.
    """
    by_place = dict(mappings(tree))
    if selected is not None:
        places = ", ".join(filter(None, by_place)) or "the whole file"
        if selected not in by_place:
            raise ValueError(
                f"must name a mapping of tensors in {path}, {places}, got {path}:{selected}"
            )
        by_place = {selected: by_place[selected]}
    if not by_place:
        raise ValueError(f"must hold a state dict of tensors, got {path}, which does not")
    most = max(len(tensors) for tensors in by_place.values())
    largest = [place for place, tensors in by_place.items() if len(tensors) == most]
    place, *others = largest
    for other in others:
        pairs = zip(by_place[place].values(), by_place[other].values(), strict=True)
        if not all(torch.equal(*pair) for pair in pairs):
            raise ValueError(
                f"must be one network's weights, got {path}, in which {place!r} and {other!r} have"
                f" {most} tensors each and differ; {path}:{other} selects one"
            )
    return place, by_place[place]


def _is_of_other_classes(own: Tensor, given: Tensor) -> bool:
    return given.shape[1:] == own.shape[1:] and given.shape[:1] != own.shape[:1]


def _check(own: Tensor, given: Tensor, what: str, in_file: str) -> None:
    if own.shape != given.shape or own.is_floating_point() != given.is_floating_point():
        raise ValueError(
            f"must have the network's shapes in its order, got {in_file}, in which {what} has"
            f" {tuple(given.shape)} {_kind(given)} instead of {tuple(own.shape)} {_kind(own)}"
        )


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
