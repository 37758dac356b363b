"""The parameters of a network in groups: learning rates by depth, weight decay without norms.

Layer decay: BEiT, Bao et al. 2022, arXiv 2106.08254; ELECTRA, Clark et al. 2020, arXiv 2003.10555.
The learning rate of layer l of L is lr * decay^(L - l): the head, layer L, has lr itself, and the
stem, layer 0, the lowest. Without weight decay for norms and biases: as usual since Goyal et al.
2017, arXiv 1706.02677; DeiT leaves its learned tokens and positions out, too.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

SCALE = "lr_scale"  # of a group: the part of the learning rate that its parameters have
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def parameter_groups(
    model: nn.Module,
    others: Sequence[nn.Parameter] = (),
    *,
    layer_decay: float = 1.0,
    decay_norms: bool = True,
) -> list[dict[str, Any]] | list[nn.Parameter]:
    """The trained parameters of a model and others, as an optimizer takes them.

    Args:
        others: those of loss terms, at the full learning rate.
        layer_decay: in (0, 1]; 1: one learning rate.
        decay_norms: false: no weight decay of parameters with less than two dimensions, and of
            learned tokens and positions.

    Returns a list, or groups if the options differ from their defaults: the full learning rate
    first, and with weight decay before without.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    learned = [p for p in others if p.requires_grad]
    if layer_decay == 1 and decay_norms:
        return [*(p for _, p in named), *learned]
    depth = layer_numbers(model)
    last = max(depth.values(), default=0)
    excluded = set() if decay_norms else _tokens(model)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}

    def add(parameter: nn.Parameter, distance: int, name: str) -> None:
        decays = decay_norms or (parameter.ndim > 1 and name not in excluded)
        groups.setdefault((distance, not decays), []).append(parameter)

    for name, parameter in named:
        add(parameter, last - depth[name], name)
    for parameter in learned:
        add(parameter, 0, "")
    return [
        {
            "params": groups[distance, without],
            SCALE: layer_decay**distance,
            **({"weight_decay": 0.0} if without else {}),
        }
        for distance, without in sorted(groups)
    ]


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """The layer of each parameter by name: 0 for the stem, the largest number for the head.

    Those of timm, where the network has its `group_matcher`. Else a layer is an entry of the
    network's sequences of blocks, or a part of its own. A part without any parameter in a matrix or
    a filter, such as a norm, belongs to the layer before it; parameters of the network itself, such
    as a token, to the first. Towers of transformers are taken apart down to their blocks.
    """
    if hasattr(model, "group_matcher"):
        from timm.models import group_parameters

        matcher: Any = model.group_matcher
        of_timm: dict[str, int] = group_parameters(model, matcher(), reverse=True)
        return of_timm
    numbers = {name: 0 for name, _ in model.named_parameters()}
    number = -1
    for path, part in _parts(model):
        names = [f"{path}.{name}" for name, _ in part.named_parameters()]
        if any(parameter.ndim > 1 for parameter in part.parameters()):
            number += 1
        numbers |= dict.fromkeys(names, max(number, 0))
    return numbers


def _parts(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The parts of a network in order; containers are taken apart."""
    for name, part in module.named_children():
        inner = f"{path}.{name}" if path else name
        if isinstance(part, CONTAINERS) or _is_tower(part):
            yield from _parts(part, inner)
        else:
            yield inner, part


def _is_tower(part: nn.Module) -> bool:
    """Whether it is a network of transformers, or an encoder in one, with a list of blocks."""
    is_theirs = type(part).__module__.startswith("transformers.")
    return is_theirs and any(isinstance(inner, nn.ModuleList) for inner in part.modules())


def _tokens(model: nn.Module) -> set[str]:
    """The names of learned tokens and positions: parameters of no layer, or named by timm.

    Names of timm may be patterns, such as `pos_embed.*`.
    """
    listed = list(getattr(model, "no_weight_decay", set)())
    own = {name for name, _ in model.named_parameters(recurse=False)}
    return own | {
        name
        for name, _ in model.named_parameters()
        if any(fnmatchcase(name, pattern) for pattern in listed)
    }
