"""The features that loss terms compare: whether the networks have them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from kdsweep.common.feature_names import without_mode
from kdsweep.common.suggestions import did_you_mean, nearest_first
from kdsweep.models.components.class_maps import ClassMapError
from kdsweep.models.components.feature_extractor import locate_feature


def feature_errors(
    model: nn.Module, names: Sequence[str], key: str, loss: Mapping[str, Any]
) -> list[str]:
    """A message for every feature that a network does not have.

    Args:
        names: of features, `stage2` or `stage2:before_relu`.
        key: of the network in the config.
        loss: the options of the terms that name the features.
    """
    modules = [path for path, _ in model.named_modules() if path]
    errors = []
    for name in names:
        path = name.partition(":")[0]
        try:
            locate_feature(model, name)
        except ValueError as error:
            top_level = [module for module in modules if "." not in module]
            why = f": {error}" if path in modules else did_you_mean(path, modules)
            option, typed = _option(loss, name)
            errors.append(
                f"{option} must name modules of {key}.model"
                f" ({', '.join(nearest_first(path, top_level))}), got {typed}{why}"
            )
    return errors


def class_map_message(error: ClassMapError, key: str, loss: Mapping[str, Any]) -> str:
    """The message for a feature that cannot be class activation maps; ``key`` and ``loss`` as in
    `feature_errors`."""
    option, typed = _option(loss, error.feature)
    return f"{option} must name a module of {key}.model {error.why} in {typed}"


def _option(loss: Mapping[str, Any], feature: str) -> tuple[str, str]:
    """The config key of the option that names a feature, and its name there: a term may read it in
    another mode."""
    for typed in (feature, without_mode(feature)):
        for term, options in loss.items():
            for option, value in options.items():
                if typed in _texts(value):
                    return f"loss.{term}.{option}", typed
    return "loss", feature


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _texts(child)
