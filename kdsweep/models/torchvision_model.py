"""Any image classifier of torchvision, by name.

torchvision takes over a second to import, so it is imported when the first one is built.
"""

from typing import Any

from torch import Tensor, nn

from kdsweep.common.validation import check_option
from kdsweep.models.components.checks import Shape, check_task
from kdsweep.models.components.input_normalization import WEIGHTS, Normalization, set_expected
from kdsweep.models.components.pretrained import (
    check_forward,
    check_name,
    check_weights_fit,
    unsupported_images_message,
)
from kdsweep.models.components.stochastic_depth import check_rate, set_torchvision_depth
from kdsweep.models.components.trained_view import View, set_trained_view


def Torchvision(
    name: str,
    in_shape: Shape,
    num_classes: int,
    weights: str | None = None,
    normalize: str | None = None,
    drop_path: float | None = None,
) -> nn.Module:
    """The torchvision classifier called ``name``, such as ``resnet34``, without a wrapper.

    So features have torchvision's module paths (``layer3.1.conv2``) and checkpoints torchvision's
    keys. ``weights`` is null or a name from torchvision, such as ``DEFAULT`` or ``IMAGENET1K_V1``;
    a head for another number of classes is then replaced. Without weights the first convolution has
    the channels of ``in_shape``. ``normalize`` is the normalisation of the images that the network
    expects: by default that of its weights, or without weights the data set's; ``weights`` is that
    of torchvision's. ``drop_path``, in [0, 1), is the network's ``stochastic_depth_prob``; None:
    torchvision's own, which is not 0 in all networks.

    Raises ValueError for unknown names, unavailable weights, and images of a shape that the network
    does not support.
    """
    import torchvision

    check_task(in_shape, num_classes)
    check_rate(drop_path)
    check_name(name, torchvision.models.list_models(module=torchvision.models), "torchvision")
    if weights is None:
        model = untrained(name, in_shape, num_classes)
    else:
        model = pretrained(name, in_shape, num_classes, weights)
    if drop_path is not None:
        set_torchvision_depth(model, name, drop_path)
    check_forward(model, name, in_shape)
    of_library = normalization(name, weights or "DEFAULT")
    set_expected(model, normalize, in_shape, of_library if weights else None, of_library)
    if weights or normalize == WEIGHTS:
        set_trained_view(model, _view(name, weights))
    return model


def _view(name: str, weights: str | None) -> View:
    """How images are made for weights of this name; None: what all weights of the network share."""
    import torchvision

    known = torchvision.models.get_model_weights(name)
    views = []
    for member in known if weights is None else [known[weights]]:
        made = member.transforms()
        (size,), (whole,) = made.crop_size, made.resize_size
        views.append(View((size, size), made.interpolation.value, size / whole))
    first = views[0]._asdict()
    return View(
        **{
            key: value
            for key, value in first.items()
            if all(getattr(view, key) == value for view in views)
        }
    )


def normalization(name: str, weights: str) -> Normalization:
    """That of the images on which weights of this name were trained."""
    import torchvision

    preprocessing = torchvision.models.get_model_weights(name)[weights].transforms()
    return Normalization(tuple(preprocessing.mean), tuple(preprocessing.std))


def full_name(weights: str, name: str | None) -> str | None:
    """`ResNet18_Weights.IMAGENET1K_V1` for weights of torchvision; None if there are none.

    Args:
        weights: that name, or `IMAGENET1K_V1` or `DEFAULT` of the network called ``name``.
    """
    import torchvision

    try:
        if name is None or "." in weights:
            return str(torchvision.models.get_weight(weights))
        return str(torchvision.models.get_model_weights(name)[weights])
    except (ValueError, KeyError, TypeError):  # the latter for the name of a function, `resnet18.`
        return None


def class_names(weights: str) -> tuple[str, ...]:
    """The names of the classes of the weights with this full name, in the order of the logits."""
    import torchvision

    return tuple(torchvision.models.get_weight(weights).meta["categories"])


def download(weights: str) -> dict[str, Tensor]:
    """The tensors of the weights with this full name. Raises ValueError if that fails."""
    import torchvision

    try:
        state_dict: dict[str, Tensor] = torchvision.models.get_weight(weights).get_state_dict(
            progress=False, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights {weights} could not be downloaded ({error}): "
            "check the connection, or put the file into torch's hub folder by hand"
        ) from error
    return state_dict


def untrained(name: str, in_shape: Shape, num_classes: int) -> nn.Module:
    """The network with random weights, for images of any size and number of channels."""
    import torchvision

    options: dict[str, Any] = {"num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = in_shape[1]
    if name == "maxvit_t":
        options["input_size"] = in_shape[1:]
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    except ValueError as error:
        raise ValueError(unsupported_images_message(name, in_shape, error)) from error
    if in_shape[0] != 3:
        replace_first_convolution(model, in_shape[0])
    return model


def pretrained(name: str, in_shape: Shape, num_classes: int, weights: str) -> nn.Module:
    """The network with torchvision's weights, and a new head for another number of classes."""
    import torchvision

    known = torchvision.models.get_model_weights(name).__members__
    check_option(f"model.weights of {name}", weights, known)
    check_weights_fit(name, in_shape)
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=known[weights])
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights {weights} of {name} could not be downloaded ({error}): "
            "check the connection, or put the file into torch's hub folder by hand"
        ) from error
    if name == "inception_v3":  # its auxiliary head returns a second tensor of logits
        model.aux_logits, model.AuxLogits = False, None  # type: ignore[assignment]
    pretrained_classes = len(known[weights].meta["categories"])
    if num_classes != pretrained_classes:
        replace_head(model, pretrained_classes, num_classes)
    return model


def replace_first_convolution(model: nn.Module, channels: int) -> None:
    """Replace the first convolution by a new one for images of ``channels`` channels."""
    path, first = next(
        (path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)
    )
    model.set_submodule(path, like_convolution(first, channels, first.out_channels))


def replace_head(model: nn.Module, old: int, new: int) -> None:
    """Replace the last layer with ``old`` outputs by a new one of ``new`` classes.

    It is a linear layer, or a 1x1 convolution (SqueezeNet).
    """
    for path, module in reversed(list(model.named_modules())):
        if isinstance(module, nn.Linear) and module.out_features == old:
            return model.set_submodule(path, nn.Linear(module.in_features, new))
        if isinstance(module, nn.Conv2d) and module.out_channels == old:
            return model.set_submodule(path, like_convolution(module, module.in_channels, new))
    raise AssertionError(f"no layer with {old} outputs")


def like_convolution(old: nn.Conv2d, in_channels: int, out_channels: int) -> nn.Conv2d:
    """A new convolution with the geometry of ``old``."""
    geometry: dict[str, Any] = {
        key: getattr(old, key)
        for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    }
    return nn.Conv2d(in_channels, out_channels, bias=old.bias is not None, **geometry)
