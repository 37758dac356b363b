"""Any image classifier of timm, by name.

timm is optional (``pip install 'kdsweep[timm]'``) and imported when the first model is built.
"""

from typing import Any

from torch import Tensor, nn

from kdsweep.common.text import error_reason
from kdsweep.common.validation import check_bool, import_package
from kdsweep.models.components.checks import Shape, check_task
from kdsweep.models.components.embedding_output import return_embedding
from kdsweep.models.components.input_normalization import WEIGHTS, Normalization, set_expected
from kdsweep.models.components.pretrained import (
    check_forward,
    check_name,
    check_weights_fit,
    move_class_to,
    unsupported_images_message,
)
from kdsweep.models.components.stochastic_depth import check_rate, lacks_depth_message
from kdsweep.models.components.trained_view import View, set_trained_view


def Timm(
    name: str,
    in_shape: Shape,
    num_classes: int,
    pretrained: bool = False,
    normalize: str | None = None,
    drop_path: float | None = None,
    head: bool = True,
) -> nn.Module:
    """The timm classifier called ``name``, such as ``resnet18.a1_in1k``, without a wrapper.

    So features have timm's module paths (``layer3.1.conv2``) and checkpoints timm's keys. With
    ``pretrained`` it has the weights of the name's tag, and a new head for another number of
    classes. ``normalize`` is the normalisation of the images that the network expects: by default
    that of its weights, or without weights the data set's; ``weights`` is that of the name's tag.
    ``drop_path``, in [0, 1), is the network's ``drop_path_rate``; None: timm's own, mostly 0.
    With ``head=false`` it has no classifier, as a teacher for terms that compare features: its
    pooled vector for an image is the feature ``embedding``, and there are no logits.

    Raises ValueError without timm, for unknown names, unavailable weights, and images of a shape
    that the network does not support.
    """
    timm = import_package("timm", "timm")
    check_task(in_shape, num_classes)
    check_rate(drop_path)
    check_bool("head", head)
    check_name(name, {*timm.list_models(), *timm.list_pretrained()}, "timm")
    if pretrained:
        if not timm.is_model_pretrained(name):
            raise ValueError(
                f"model.pretrained must be false for {name}: timm has no weights of it"
            )
        check_weights_fit(name, in_shape)
    source = timm.models.get_pretrained_cfg(name)
    classes = num_classes if head else 0
    options: dict[str, Any] = {"num_classes": classes, "pretrained": pretrained}
    if source.fixed_input_size:  # positional embeddings
        options["img_size"] = in_shape[1:]
    if drop_path is not None:
        options["drop_path_rate"] = drop_path
    model = _create(name, in_shape, options)
    if not head:
        return_embedding(model, lambda vector: vector, classifiers(source))
    check_forward(model, name, in_shape)
    of_library = normalization(name)
    set_expected(model, normalize, in_shape, of_library if pretrained else None, of_library)
    if pretrained or normalize == WEIGHTS:
        set_trained_view(model, _view(source))
    move_class_to(__name__, model)
    if head and hasattr(model, "set_distilled_training"):
        model.register_forward_hook(logits_of_class_head)
    return model


def _view(source: Any) -> View:
    """How images were made for the weights that a config of timm's is of."""
    _, height, width = source.input_size
    return View((height, width), source.interpolation, float(source.crop_pct))


def _create(name: str, in_shape: Shape, options: dict[str, Any]) -> nn.Module:
    """timm's network with these options. Raises ValueError if it has none with them."""
    timm = import_package("timm", "timm")
    try:
        model: nn.Module = timm.create_model(name, in_chans=in_shape[0], **options)
    except OSError as error:
        raise ValueError(not_downloaded_message(name, error)) from error
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise ValueError(lacks_depth_message(name, options["drop_path_rate"])) from error
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(unsupported_images_message(name, in_shape, error)) from error
    return model


def classifiers(source: Any) -> tuple[str, ...]:
    """The paths of the heads that weights of a name have."""
    named = source.classifier or ()
    return (named,) if isinstance(named, str) else tuple(named)


def download(name: str) -> dict[str, Tensor]:
    """The tensors of the weights of this name, with their own head. Raises ValueError."""
    try:
        model: nn.Module = import_package("timm", "timm").create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(not_downloaded_message(name, error)) from error
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}  # some are shared


def not_downloaded_message(name: str, error: Exception) -> str:
    return (
        f"the weights of {name} could not be downloaded ({error_reason(error)}): "
        "check the connection, or put the file into Hugging Face's cache by hand"
    )


def has_weights(name: str) -> bool:
    """Whether timm is there and has weights of this name."""
    try:
        timm = import_package("timm", "timm")
    except ValueError:
        return False
    return bool(timm.is_model_pretrained(name))


def normalization(name: str) -> Normalization | None:
    """That of the images on which the weights of this name were trained; None without weights."""
    source = import_package("timm", "timm").models.get_pretrained_cfg(name)
    return None if source is None else Normalization(tuple(source.mean), tuple(source.std))


def logits_of_class_head(model: nn.Module, images: object, logits: object) -> object:
    """In distilled training timm's model returns those of both heads; the second is a feature."""
    return logits[0] if isinstance(logits, tuple) else logits
