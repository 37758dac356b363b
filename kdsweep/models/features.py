"""Features by module path: what a network computes on the way to its logits.

Hooks reach into any module, so no model has to be written for distillation.
"""

import difflib
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from kdsweep.structures import Output


class FeatureTap:
    """A model that also hands out the outputs of the modules named.

    ``FeatureTap(model, ["stage2"])(images)`` is ``Output(logits, {"stage2": (B, ...)})``. A name
    is a module path (``stage2``, ``layer3.1.conv2``). Without names the model has no hooks and
    the features are empty. A module that runs more than once in a forward pass, such as a shared
    ReLU, gives its last output. A copy of a tapped model would report to the first tap: close
    the tap before copying.
    """

    def __init__(self, model: nn.Module, names: Iterable[str] = ()) -> None:
        """Raises ValueError if a name is no module path of ``model``."""
        self.model = model
        self.names = tuple(dict.fromkeys(names))
        self._captured: dict[str, Tensor] = {}
        modules = {path: module for path, module in model.named_modules() if path}
        for name in self.names:
            if name not in modules:
                raise ValueError(unknown_feature(name, list(modules)))
        self._handles = [
            modules[name].register_forward_hook(self._catch(name)) for name in self.names
        ]

    def __call__(self, images: Tensor) -> Output:
        """Images (B, channels, H, W) -> logits (B, C) and the features by name.

        Raises ValueError if the forward pass does not run through one of the modules named.
        """
        self._captured = {}
        logits = self.model(images)
        captured, self._captured = self._captured, {}
        for name in self.names:
            if name not in captured:
                raise ValueError(f"feature {name!r} is never computed by {type_name(self.model)}")
        return Output(logits, {name: captured[name] for name in self.names})

    def close(self) -> None:
        """Take the hooks off the model; the tap must not be called afterwards."""
        for handle in self._handles:
            handle.remove()

    def _catch(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                raise ValueError(f"feature {name!r} is no tensor but a {type_name(output)}")
            # A copy: torchvision's networks go on to write into some outputs (out += identity).
            self._captured[name] = output.clone()

        return hook


def unknown_feature(name: str, paths: list[str]) -> str:
    """The sentence for a feature that does not exist, with the paths that look like it."""
    near = difflib.get_close_matches(name, paths, n=5, cutoff=0.5)
    inside = [path for path in paths if "." not in path]
    hint = f"; near to it: {', '.join(near)}" if near else ""
    return f"feature {name!r} must be a module path inside {', '.join(inside)}{hint}"


def type_name(thing: object) -> str:
    return type(thing).__name__
