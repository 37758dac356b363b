"""Any image classifier or vision tower of Hugging Face's transformers, from a local folder.

transformers is optional (``pip install 'kdsweep[hf]'``) and imported when the first model is built.
Only its own classes are built, and of a folder JSON and safetensors are read: no code of a folder
is run, nothing is unpickled, nothing is downloaded.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from kdsweep.common.text import error_reason
from kdsweep.common.validation import check_bool, import_package, shown
from kdsweep.models.components.checks import Shape, check_task
from kdsweep.models.components.embedding_output import return_embedding
from kdsweep.models.components.input_normalization import WEIGHTS, Normalization, set_expected
from kdsweep.models.components.logits_output import return_logits
from kdsweep.models.components.pretrained import (
    check_forward,
    move_class_to,
    unsupported_images_message,
)
from kdsweep.models.components.text_head import TEXT_HEAD, TextHead, read_texts
from kdsweep.models.components.trained_view import View, set_trained_view
from kdsweep.models.hf_folder import (
    num_labels,
    of_the_network,
    read_architecture,
    read_preprocessing,
    refuse_other_libraries,
)

NO_DECAY = "no_weight_decay"  # timm's name
# Names of learned tokens and positions, which have no weight decay where norms have none.
LEARNED = ("cls_token", "distillation_token", "register_tokens", "position_embeddings")
# What a config with values that do not go together raises, somewhere in transformers.
WRONG = (ValueError, TypeError, KeyError, AttributeError)
VISION = "vision_config"  # of a config with several towers: CLIP, SigLIP
# CLIP's tower with the projection into the space of its texts, which is the embedding.
PROJECTED = {"clip_vision_model": "CLIPVisionModelWithProjection"}
# Towers with a learned layer behind the class token that files of classifiers lack.
LEARNED_POOLER = ("vit", "deit")


def HuggingFace(
    in_shape: Shape,
    num_classes: int,
    path: str | None = None,
    architecture: dict[str, Any] | None = None,
    preprocessing: dict[str, Any] | None = None,
    normalize: str | None = None,
    head: bool = True,
    texts: str | None = None,
    classes: list[str] | None = None,
) -> nn.Module:
    """The network that a folder describes, with random weights; ``start`` gives it those there.

    So features have the module paths of transformers (``vit.layers.3``) and weights its names.
    ``architecture`` and ``preprocessing`` are what the folder ``path`` has, which is not read then:
    a run keeps them in place of the path. Images have the size and channels of ``in_shape``
    whatever those of the folder are. ``normalize`` is the normalisation of the images that the
    network expects: null is the data set's, ``weights`` that of ``preprocessing``.

    With ``head=false`` it is the vision tower alone, a teacher for terms that compare features: its
    vector for an image (pooled; for CLIP projected into the space of the texts) is the feature
    ``embedding``, and there are no logits. With ``texts``, a file of embeddings of the classes'
    names, the tower classifies by them (`TextHead`); ``classes`` are those names, in place of it.

    Raises ValueError without transformers, for folders of something else and architectures that
    transformers does not have as an image classifier, and for images of a shape that the network
    does not support.
    """
    check_bool("head", head)
    check_task(in_shape, num_classes)
    if architecture is None:
        if path is None:
            raise ValueError("path must be given")
        architecture, preprocessing = read_architecture(path), read_preprocessing(path)
    if texts is not None and classes is None:
        classes = list(read_texts(texts).classes)
    if classes is not None and not head:
        raise ValueError("head must be true with texts, which are one, got false")
    parts = blueprint(architecture, head and classes is None, in_shape, num_classes)
    name = str(architecture.get("model_type"))
    try:
        model: nn.Module = parts.network._from_config(parts.config, **parts.options)
    except (RuntimeError, AssertionError, ArithmeticError, *WRONG) as error:
        raise ValueError(unsupported_images_message(name, in_shape, error)) from error
    has_class_token = any(key.endswith("cls_token") for key, _ in model.named_parameters())
    vector_of = partial(pooled, has_class_token=has_class_token)
    if classes is not None:
        return_similarities(model, vector_of, classes, in_shape)
    elif head:
        return_logits(model)
    else:
        return_embedding(model, vector_of)
    check_forward(model, name, in_shape)
    of_weights = None
    if preprocessing is not None:
        of_weights = Normalization(tuple(preprocessing["mean"]), tuple(preprocessing["std"]))
        if normalize == WEIGHTS:
            set_trained_view(model, _view(preprocessing))
    set_expected(model, normalize, in_shape, None, of_weights)
    learned = [key for key, _ in model.named_parameters() if key.rpartition(".")[2] in LEARNED]
    setattr(model, NO_DECAY, partial(set, learned))
    move_class_to(__name__, model)
    return model.train()


def _view(preprocessing: Mapping[str, Any]) -> View:
    """How the preprocessing of a folder makes images of the network's size."""
    size = preprocessing.get("size")
    shape = None if size is None else (int(size[0]), int(size[1]))
    part = preprocessing.get("crop_pct")
    return View(shape, preprocessing.get("interpolation"), None if part is None else float(part))


def described(node: Mapping[str, Any]) -> dict[str, Any]:
    """The config node of a network with what its folder describes in place of the path.

    So that a run depends on the content of the folder and on no path. Raises ValueError for a
    folder of something else.
    """
    if (path := node.get("path")) is None or node.get("architecture") is not None:
        return dict(node)
    rest = {key: value for key, value in node.items() if key != "path"}
    folder = str(path)
    content: dict[str, Any] = {"architecture": read_architecture(folder)}
    content["preprocessing"] = read_preprocessing(folder)
    if (texts := rest.pop("texts", None)) is not None:
        content["classes"] = list(read_texts(str(texts)).classes)
    return {**rest, **content}


def weights_for(node: Mapping[str, Any], folder: str) -> dict[str, Tensor]:
    """The weights in a folder for the network of a config node, and those of its texts.

    Raises ValueError as `weights_in` and `read_texts` do.
    """
    if (texts := node.get("texts")) is None:
        return weights_in(folder, bool(node.get("head", True)))
    return {**weights_in(folder, head=False), f"{TEXT_HEAD}.weight": read_texts(str(texts)).weight}


def weights_in(folder: str, head: bool = True) -> dict[str, Tensor]:
    """The tensors that transformers reads from a folder, by the names of the network.

    It knows the names that earlier versions and networks with further towers have for them. Those
    that the folder lacks, such as the head of a tower, are left out.

    Args:
        head: whether they are for a classifier, or for the vision tower alone.

    Raises ValueError if the folder has no weights in safetensors that are for such a network.
    """
    parts = blueprint(read_architecture(folder), head, None, num_labels(folder))
    logging = import_package("transformers.utils.logging", "hf")
    logging.set_verbosity_error()  # of what is left out there is a line, as for other files
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng():
            model, account = parts.network.from_pretrained(
                folder,
                config=parts.config,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **parts.options,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"must be a folder with weights of this network in safetensors, got {folder}:"
            f" {error_reason(error)}"
        ) from error
    missing = set(account["missing_keys"])
    return {k: v.clone() for k, v in model.state_dict().items() if k not in missing}


class Blueprint(NamedTuple):
    """A class of transformers, and the config and options that it is built with."""

    network: Any
    config: Any
    options: dict[str, Any]


def blueprint(
    architecture: Mapping[str, Any], head: bool, in_shape: Shape | None, num_classes: int
) -> Blueprint:
    """How transformers builds an architecture, for images of a shape; None: as they are there.

    Raises ValueError without transformers, and for architectures that it does not have.
    """
    transformers = import_package("transformers", "hf")
    config = _config(transformers, architecture)
    config.num_labels = num_classes
    vision = getattr(config, VISION, config)
    if in_shape is not None:
        channels, height, width = in_shape
        if hasattr(vision, "num_channels"):
            vision.num_channels = channels
        if hasattr(vision, "image_size"):
            vision.image_size = height if height == width else (height, width)
    if head:
        return Blueprint(_class(transformers.AutoModelForImageClassification, config), config, {})
    if vision.model_type in PROJECTED:
        return Blueprint(getattr(transformers, PROJECTED[vision.model_type]), vision, {})
    options = {"add_pooling_layer": False} if vision.model_type in LEARNED_POOLER else {}
    return Blueprint(_class(transformers.AutoModel, vision), vision, options)


def _config(transformers: Any, architecture: Mapping[str, Any]) -> Any:
    refuse_other_libraries(architecture)
    options = {k: v for k, v in of_the_network(architecture).items() if k != "model_type"}
    name = architecture.get("model_type")
    try:
        return transformers.AutoConfig.for_model(name, **options)
    except Exception as error:  # of whatever a config of transformers checks
        raise ValueError(
            f"architecture must be one that transformers {transformers.__version__} has, got"
            f" {shown(name)}: {error_reason(error)[:200]}"
        ) from error


def _class(auto: Any, config: Any) -> Any:
    """The class that one of transformers' Auto classes has for a config."""
    if type(config) not in auto._model_mapping:
        kind = auto.__name__.removeprefix("AutoModelFor").removeprefix("Auto")
        raise ValueError(
            f"architecture must be one that transformers has for {kind}, got {config.model_type}"
        )
    known = auto._model_mapping[type(config)]
    if not isinstance(known, list | tuple):
        return known
    by_name = {one.__name__: one for one in known}
    return next((by_name[name] for name in config.architectures or () if name in by_name), known[0])


def return_similarities(
    model: nn.Module, vector_of: Callable[[Any], Tensor], classes: Sequence[str], in_shape: Shape
) -> None:
    """Make a tower give the logits of a `TextHead`; its weights are those of the texts."""
    was_training = model.training
    with torch.no_grad():
        width = vector_of(model.eval()(torch.zeros(1, *in_shape))).shape[1]
    model.train(was_training)
    model.add_module(TEXT_HEAD, TextHead(classes, width))
    # Looked up in the model, because a copy of it has its own module and the same hook.
    model.register_forward_hook(
        lambda own, inputs, output: own.get_submodule(TEXT_HEAD)(vector_of(output))
    )


def pooled(output: Any, has_class_token: bool) -> Tensor:
    """The vector (B, D) of a tower: projected, else pooled, else its class token, else the mean."""
    for name in ("image_embeds", "pooler_output"):
        vector = getattr(output, name, None)
        if isinstance(vector, Tensor):
            return vector.flatten(1)
    last: Tensor = output.last_hidden_state
    if last.dim() == 4:
        return last.mean(dim=(2, 3))
    return last[:, 0] if has_class_token else last.mean(dim=1)
