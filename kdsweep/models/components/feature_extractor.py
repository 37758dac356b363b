"""Features by module path: intermediate outputs of a network.

Forward hooks work on any module, so no model needs code for distillation. The names are those of
`common.feature_names`: `stage2`, `stage2:before_relu`, `pool:class_maps`, `stage2:train`.
"""

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdsweep.common.classifier import classifier_of
from kdsweep.common.feature_names import BEFORE_RELU, CHANNELS_FIRST, CLASS_MAPS, parse_feature
from kdsweep.common.types import Output
from kdsweep.models.components.batch_statistics import batch_statistics
from kdsweep.models.components.class_maps import class_maps


class FeatureExtractor:
    """A model that also returns the outputs of the modules named.

    ``FeatureExtractor(model, ["stage2"])(images)`` is ``Output(logits, {"stage2": (B, ...)})``. A
    name is a module path (``stage2``, ``layer3.1.conv2``), or one with a place (``:before_relu``,
    ``:input``, ``:class_maps``, ``:channels_first``), ``:train`` or both. Without names the model
    has no hooks and the features are empty. Called by itself, the model copies no features. A
    module that runs more than once in a forward pass, such as a shared ReLU, gives its last output.
    A copy of the model shares the hooks and would write to this extractor: call ``close`` before
    copying.
    """

    def __init__(self, model: nn.Module, names: Iterable[str] = ()) -> None:
        """Raises ValueError if a name is no module path of ``model``, or it has no such place."""
        self.model = model
        self.run_in_training: Callable[[Tensor], Tensor] = model  # or what is compiled of it
        self.names = tuple(dict.fromkeys(names))
        self._captured: dict[str, Tensor] | None = None  # during a call
        located = {name: locate_feature(model, name) for name in self.names}
        self._in_train_mode = {name for name in self.names if parse_feature(name).train}
        self._handles = [self._hook(name, *location) for name, location in located.items()]

    def __call__(self, images: Tensor) -> Output:
        """Images (B, channels, H, W) -> logits (B, C) and the features by name.

        Of a model in eval mode, the features with ``:train`` are left out. Raises ValueError if the
        forward pass does not run through one of the modules named.
        """
        logits, features = self._forward(images)
        if self._in_train_mode and not self.model.training:
            features = {k: v for k, v in features.items() if k not in self._in_train_mode}
        return Output(logits, features)

    def with_train_features(self, images: Tensor) -> Output:
        """The same with every feature: a model in eval mode runs twice if some have ``:train``."""
        output = self(images)
        if len(output.features) == len(self.names):
            return output
        with batch_statistics(self.model):
            _, in_train_mode = self._forward(images)
        return Output(output.logits, in_train_mode | output.features)

    def _forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        captured = self._captured = {}
        try:
            logits = (self.run_in_training if self.model.training else self.model)(images)
        finally:
            self._captured = None
        for name in self.names:
            if name not in captured:
                raise ValueError(f"feature {name!r} is never computed by {type_name(self.model)}")
        return logits, {name: captured[name] for name in self.names}

    def close(self) -> None:
        """Remove the hooks from the model; the extractor must not be called afterwards."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str, module: nn.Module, is_input: bool) -> RemovableHandle:
        if parse_feature(name).place == CLASS_MAPS:
            classifier = classifier_of(self.model)
            return module.register_forward_pre_hook(
                lambda module, inputs: self._capture(
                    name, inputs[0], lambda maps: class_maps(maps, classifier, name)
                )
            )
        if is_input:
            return module.register_forward_pre_hook(
                lambda module, inputs: self._capture(name, inputs[0])
            )
        change = None
        if parse_feature(name).place == CHANNELS_FIRST:
            change = partial(channels_first, name=name)
        return module.register_forward_hook(
            lambda module, inputs, output: self._capture(name, output, change)
        )

    def _capture(
        self, name: str, value: Any, change: Callable[[Any], object] | None = None
    ) -> None:
        if self._captured is None:  # the model is called by itself
            return
        if change is not None:
            value = change(value)
        if not isinstance(value, Tensor):
            raise ValueError(f"feature {name!r} is no tensor but a {type_name(value)}")
        # A copy: torchvision's networks modify some in place (out += identity, ReLU).
        self._captured[name] = value.clone()


def locate_feature(model: nn.Module, name: str) -> tuple[nn.Module, bool]:
    """The module of a feature, and whether the feature is its input. Raises ValueError."""
    feature = parse_feature(name)
    modules = {path: module for path, module in model.named_modules() if path}
    if feature.path not in modules:
        raise ValueError(unknown_feature_message(name, list(modules)))
    if feature.place == CLASS_MAPS:
        classifier_of(model)
    if feature.place != BEFORE_RELU:
        return modules[feature.path], feature.place not in (None, CHANNELS_FIRST)
    relus = [module for module in modules[feature.path].modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise ValueError(f"feature {name!r} must be a module with a ReLU, which it is not")
    return relus[-1], True  # in the order of their creation


def channels_first(value: Tensor, name: str) -> Tensor:
    """(B, H, W, channels) -> (B, channels, H, W). Raises ValueError for other features."""
    if not isinstance(value, Tensor) or value.dim() != 4:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type_name(value)
        raise ValueError(f"feature {name!r} must be of a module with four dimensions, got {shape}")
    return value.movedim(-1, 1)


def unknown_feature_message(name: str, paths: list[str]) -> str:
    """The error message for a feature that does not exist, with similar paths."""
    near = difflib.get_close_matches(name, paths, n=5, cutoff=0.5)
    top_level = [path for path in paths if "." not in path]
    hint = f"; near to it: {', '.join(near)}" if near else ""
    return f"feature {name!r} must be a module path inside {', '.join(top_level)}{hint}"


def type_name(value: object) -> str:
    return type(value).__name__
