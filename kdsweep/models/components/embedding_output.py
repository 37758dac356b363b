"""Networks without a classifier, which give a vector for each image: towers of DINO and CLIP.

They are teachers of terms that compare features. The vector is the feature `embedding`; in place
of logits (B, C) there are none: (B, 0).
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from torch import Tensor, nn

EMBEDDING = "embedding"  # the module whose output the vector is
DROPPED = "dropped_head"  # attribute of a network: paths of layers that files may have in addition


def return_embedding(
    model: nn.Module, vector_of: Callable[[Any], Tensor], dropped: Collection[str] = ()
) -> None:
    """Make a network give no logits (B, 0), and a vector (B, D) as the feature `embedding`.

    Args:
        vector_of: maps what its forward pass returns to the vector.
        dropped: the paths of the layers of a head which it has been built without.
    """
    model.add_module(EMBEDDING, nn.Identity())
    setattr(model, DROPPED, tuple(dropped))
    model.register_forward_hook(partial(_no_logits, vector_of))


def gives_logits(model: nn.Module) -> bool:
    """False after `return_embedding`."""
    return not hasattr(model, DROPPED)


def dropped_tensors(model: nn.Module) -> list[str]:
    """The names that a file may have for a head which a network has been built without."""
    layers = getattr(model, DROPPED, ())
    return [f"{layer}.{name}" for layer in layers for name in ("weight", "bias")]


def _no_logits(
    vector_of: Callable[[Any], Tensor], model: nn.Module, inputs: object, output: Any
) -> Tensor:
    # Looked up in the model, because a copy of it has its own module and the same hook.
    vector: Tensor = model.get_submodule(EMBEDDING)(vector_of(output))
    return vector[:, :0]
