"""BatchNorms of a frozen network, folded into the convolutions before them.

In eval mode a BatchNorm is a scale and an offset for each channel: a convolution right before it
can do both with other weights (Jacob et al. 2018, arXiv 1712.05877, section 3.2). The convolutions
of the network then have other outputs, and its logits are the same up to rounding.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kdsweep.common.text import error_reason

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORM_OF = dict(zip(CONVOLUTIONS, BATCH_NORMS, strict=True))


class Pair(NamedTuple):
    """The paths of a convolution and of the BatchNorm that alone takes its output."""

    convolution: str
    norm: str


def foldable_pairs(model: nn.Module) -> list[Pair]:
    """The pairs of a network in eval mode, found in the graph of its forward pass.

    Left out are modules that run more than once, have hooks, are of a subclass, or have a second
    name, under which a BatchNorm would stay. Raises ValueError if the forward pass cannot be traced
    (its branches depend on the images), or there is no pair.
    """
    was_training = model.training
    try:
        graph = fx.Tracer().trace(model.eval())
    except Exception as error:  # a network of the user's may raise anything
        raise ValueError(
            f"a forward pass that torch.fx can trace ({error_reason(error)})"
        ) from error
    finally:
        model.train(was_training)
    calls = Counter(id(_called(node, model)) for node in graph.nodes)
    names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    read = {_owner(str(node.target)) for node in graph.nodes if node.op == "get_attr"}
    pairs = [
        Pair(str(node.args[0].target), str(node.target))
        for node in graph.nodes
        if _is_foldable(node, model, calls)
        and names[id(_called(node, model))] == 1
        and not read & {node.target, node.args[0].target}
    ]
    if not pairs:
        raise ValueError("a BatchNorm that directly follows a convolution")
    return pairs


def _is_foldable(node: fx.Node, model: nn.Module, calls: "Counter[int]") -> bool:
    """Whether a node is a BatchNorm right after a convolution, each with nothing else to do."""
    source = node.args[0] if node.args else None
    norm = _called(node, model)
    if not isinstance(source, fx.Node) or len(source.users) != 1:
        return False
    convolution = _called(source, model)
    return (
        NORM_OF.get(type(convolution)) is type(norm)  # type: ignore[arg-type]
        and norm.running_mean is not None
        and calls[id(norm)] == calls[id(convolution)] == 1
        and not _has_hooks(norm)
        and not _has_hooks(convolution)
    )


class Folding:
    """The folded BatchNorms of a network, which can be put back for a while."""

    def __init__(self, model: nn.Module) -> None:
        """Freeze ``model`` in eval mode and fold every BatchNorm that can be.

        Raises ValueError as `foldable_pairs` does.
        """
        # Before modules are put aside, which later changes of mode would not reach.
        self._model = model.eval().requires_grad_(False)
        self._pairs = foldable_pairs(model)
        self._weights = [_folded(*self._modules(pair)) for pair in self._pairs]
        self._norms: list[nn.Module] = [nn.Identity() for _ in self._pairs]
        self._exchange()

    def __len__(self) -> int:
        """The number of BatchNorms folded."""
        return len(self._pairs)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Within it the network has its own weights and BatchNorms."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _modules(self, pair: Pair) -> tuple[nn.Module, nn.Module]:
        return self._model.get_submodule(pair.convolution), self._model.get_submodule(pair.norm)

    def _exchange(self) -> None:
        """Swap what the network has for what is kept here."""
        for place, pair in enumerate(self._pairs):
            convolution, norm = self._modules(pair)
            before = convolution.weight, convolution.bias
            convolution.weight, convolution.bias = self._weights[place]  # type: ignore[assignment]
            parent = self._model.get_submodule(_owner(pair.norm))
            setattr(parent, pair.norm.rpartition(".")[2], self._norms[place])
            self._weights[place], self._norms[place] = before, norm  # type: ignore[assignment]


def _folded(convolution: nn.Module, norm: nn.Module) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Weight (out, in, ...) and bias (out) of a convolution that does what both do.

    Computed in float64 on the CPU, so that each weight is rounded once, whatever the device.
    """

    def double(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().cpu().double()

    weight, bias = fuse_conv_bn_weights(
        double(convolution.weight),  # type: ignore[arg-type]
        double(convolution.bias),  # type: ignore[arg-type]
        double(norm.running_mean),  # type: ignore[arg-type]
        double(norm.running_var),  # type: ignore[arg-type]
        norm.eps,  # type: ignore[arg-type]
        double(norm.weight),  # type: ignore[arg-type]
        double(norm.bias),  # type: ignore[arg-type]
    )
    like: Tensor = convolution.weight  # type: ignore[assignment]
    return nn.Parameter(weight.to(like), False), nn.Parameter(bias.to(like), False)


def _called(node: fx.Node, model: nn.Module) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _has_hooks(module: nn.Module | None) -> bool:
    return bool(module and (module._forward_hooks or module._forward_pre_hooks))


def _owner(path: str) -> str:
    return path.rpartition(".")[0]
