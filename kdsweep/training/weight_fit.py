"""Weights by name into a network: whether they fit, and how they are loaded."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # of BatchNorm, since PyTorch 0.4.1; no output depends on it
PROFILED = ("total_ops", "total_params")  # buffers that the profiler thop leaves behind


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load weights into a model, in the model's types; names and shapes must be the same.

    The counters of BatchNorm may be missing. Raises ValueError, naming how many names match and
    the first tensors that are missing, unknown, of another shape, or not finite.
    """
    own = model.state_dict()
    check_names_and_shapes(own, weights, origin)
    cast = {name: weights[name].to(own[name]) for name in own.keys() & weights.keys()}
    for name, tensor in cast.items():
        # A mask may be infinite, as it is in a new model.
        if (~torch.isfinite(tensor) & torch.isfinite(own[name])).any():
            raise ValueError(f"{origin} must hold finite weights, got nan or inf in {name!r}")
    model.load_state_dict({**own, **cast})


def check_names_and_shapes(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], origin: str
) -> None:
    """Raise ValueError, with how many names match and what does not, unless weights fit."""
    if different := differences(own, weights):
        matching = len(own.keys() & weights.keys())
        raise ValueError(
            f"must be weights of this network, got {origin}: {matching} of its {len(own)} names"
            f" match; the file {'; it '.join(different)}"
        )


def differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from fitting a network, as clauses; none if they fit."""
    missing = [name for name in own if name not in given and not name.endswith(COUNTER)]
    unknown = [name for name in given if name not in own and not name.endswith(PROFILED)]
    both = [name for name in own if name in given]
    shapes = [name for name in both if own[name].shape != given[name].shape]
    types = [name for name in both if own[name].is_floating_point() > _is_plain_float(given[name])]
    faults = []
    if missing:
        faults.append(f"lacks {first_names(missing)}, which the model has")
    if unknown:
        faults.append(f"has {first_names(unknown)}, which the model lacks")
    if shapes:
        name, more = min(shapes), len(shapes) - 1
        shape, needed = tuple(given[name].shape), tuple(own[name].shape)
        also = f" ({more} more of another shape)" if more else ""
        faults.append(f"has {name!r} of shape {shape}, the model needs {needed}{also}")
    if types:
        name, more = min(types), len(types) - 1
        also = f" ({more} more of another type)" if more else ""
        faults.append(f"has {name!r} as {type_name(given[name])}, the model needs floats{also}")
    return faults


def _is_plain_float(tensor: Tensor) -> bool:
    """Whether it is a dense tensor of floats with its data."""
    is_dense = tensor.layout is torch.strided and not tensor.is_meta
    return is_dense and tensor.is_floating_point()


def type_name(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "a tensor without data"
    dense = "" if tensor.layout is torch.strided else "sparse "
    return f"{dense}{tensor.dtype}".replace("torch.", "")


def first_names(names: Sequence[str], count: int = 2) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(repr, names[:count])) + more
