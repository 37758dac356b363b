"""Networks of students and teachers, with the features that loss terms require."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from kdsweep.builders.class_order import Task, note_other_labels, put_in_order
from kdsweep.builders.features import class_map_message, feature_errors
from kdsweep.builders.instantiate import instantiate_node, naming_key
from kdsweep.builders.options import option_errors, parameters_of
from kdsweep.builders.targets import error_and_place, find_target, import_targets
from kdsweep.common.notices import note_once
from kdsweep.common.rng import reseed_all
from kdsweep.common.types import Output
from kdsweep.common.validation import as_typed, parse_image_size
from kdsweep.config.allow import is_own
from kdsweep.config.run_config import ResolvedTeacher
from kdsweep.config.schema import BY_NAME, BY_POSITION, DROP_PATH, StudentConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.types import AS_THEY_ARE
from kdsweep.errors import UserError
from kdsweep.models.components.checks import Shape
from kdsweep.models.components.class_maps import ClassMapError
from kdsweep.models.components.embedding_output import dropped_tensors, gives_logits
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.head import head_tensors
from kdsweep.models.components.input_normalization import adapt_input
from kdsweep.models.components.input_size import resize_input
from kdsweep.models.components.logits_output import return_logits, returns_logits
from kdsweep.models.components.network_factory import task_arguments
from kdsweep.models.components.stochastic_depth import lacks_depth_message
from kdsweep.models.components.text_head import arrange_classes
from kdsweep.models.components.trained_view import View, view_difference
from kdsweep.training.weight_match import load_file_into
from kdsweep.training.weight_positions import load_by_position

ImageSize: TypeAlias = int | Sequence[int] | None  # of `image_size`

LARGE: Shape = (3, 224, 224)  # images that any network should take
NEW_HEAD = "; recipe=finetune and recipe=linear_probe train a head for these classes"
LIBRARIES = ("timm", "torchvision")  # names of configs for all networks of a library


def build_network(
    dataset: Dataset, node: dict[str, Any], key: str, image_size: ImageSize = None
) -> nn.Module:
    """A model for the images of a data set with its normalisation, which it resizes to a size."""
    shape = input_shape(dataset, image_size, key)
    model = build_model(node, f"{key}.model", shape, dataset.num_classes)
    resize_input(model, None if image_size is None else shape[1:])
    adapt_input(model, dataset.mean, dataset.std)
    with naming_key(f"{key}.model", ("texts",)):
        arrange_classes(model, dataset.class_names)
    if (difference := view_difference(model, _given_view(dataset, shape))) is not None:
        note_once(f"{_library_name(node) or key}: {difference}")
    return model


def _given_view(dataset: Dataset, shape: Shape) -> View:
    """How a network is given the images of a data set, those of evaluation, in its own size."""
    size = (shape[1], shape[2])
    if (view := dataset.view) is not None:
        return View(size, view.interpolation, float(view.crop_pct))
    is_decoded_here = dataset.decoding is not AS_THEY_ARE
    return View(size, dataset.decoding.interpolation if is_decoded_here else None, 1.0)


def input_shape(dataset: Dataset, image_size: ImageSize, key: str) -> Shape:
    """(channels, H, W) of the images of a network; null is the size of those of the data set."""
    if image_size is None:
        return dataset.image_shape
    return (dataset.image_shape[0], *parse_image_size(f"{key}.image_size", image_size))


def build_model(
    node: dict[str, Any],
    key: str,
    in_shape: Shape,
    num_classes: int,
    allowed: Sequence[str] | None = None,
) -> nn.Module:
    """A model for images of a shape, which returns logits. Raises UserError, naming the key.

    ``allowed``: what it may be made of, as for `instantiate_node`.
    """
    given = _task_arguments(node, in_shape, num_classes)
    _refuse_depth(node, key)
    try:
        model = instantiate_node(node, key, _allowed=allowed, **given)
    except UserError as error:
        refusal = f"{key}.{DROP_PATH} must be null"
        raise UserError(str(error).replace(refusal, f"{_depth_key(key)} must be null")) from error
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        what = "one without parameters" if isinstance(model, nn.Module) else as_typed(model)
        raise UserError(
            f"{key}._target_ must be a network with parameters, an nn.Module, got"
            f" {as_typed(node.get('_target_'))}, which is {what}"
        )
    if is_own(node):
        return_logits(model)
    return model


def _task_arguments(node: dict[str, Any], in_shape: Shape, num_classes: int) -> dict[str, Any]:
    """The arguments of a model that follow from the data.

    One of the user's has those that are in its signature and not in its node.
    """
    if not is_own(node) or (target := find_target(node["_target_"])) is None:
        return {"in_shape": in_shape, "num_classes": num_classes}
    named = {parameter.name for parameter in parameters_of(target)}
    return task_arguments(named - node.keys(), in_shape, num_classes)


def refuse_model_options(node: dict[str, Any], key: str) -> None:
    """Raise UserError for options of a model that are wrong whatever the images are.

    It is built for large images on torch's device without memory. What it refuses without naming
    an option of its own may be due to these images.

    Args:
        key: of the node, `student.model`.
    """
    _refuse_depth(node, key)
    if errors := option_errors(node, key, _task_arguments(node, LARGE, 10)):
        raise UserError("\n".join(errors))
    if node.get("weights") or node.get("pretrained"):
        return  # they would be downloaded
    import_targets(node)
    try:
        with torch.random.fork_rng(), torch.device("meta"):
            build_model(node, key, LARGE, 10)
    except UserError as error:
        if str(error).startswith((f"{key}.", f"{_depth_key(key)} ")):
            raise
    except RuntimeError:
        return  # it computes with its weights


def _refuse_depth(node: Mapping[str, Any], key: str) -> None:
    """Raise UserError for stochastic depth in a network that has no argument for it."""
    target = find_target(node.get("_target_"))
    if node.get(DROP_PATH) is None or target is None:
        return
    if not any(
        parameter.name == DROP_PATH or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters_of(target)
    ):
        message = lacks_depth_message(target.__name__, node[DROP_PATH])
        raise UserError(f"{_depth_key(key).removesuffix(DROP_PATH)}{message}")


def _depth_key(key: str) -> str:
    """`student.drop_path` for `student.model`."""
    return f"{key.rpartition('.')[0]}.{DROP_PATH}"


def build_teacher_network(
    node: dict[str, Any],
    seed: int,
    dataset: Dataset,
    features: Sequence[str] = (),
    key: str = "teacher",
    loss: Mapping[str, Any] | None = None,
    image_size: ImageSize = None,
) -> FeatureExtractor:
    """A teacher's network with its initial weights, and an extractor of its features.

    ``loss``: the terms that require these, for messages. ``image_size``: of its images.
    """
    with torch.random.fork_rng():
        reseed_all("student", seed)
        model = build_network(dataset, node, key, image_size)
    return extract_features(model, features, key, dataset, loss)


def load_start(model: nn.Module, network: StudentConfig, task: Task, key: str) -> None:
    """Load the weights that the training of a network starts from; a head for other classes is 0.

    Raises UserError as `load_checkpoint` does.
    """
    assert network.start is not None, "it starts from weights"
    head = head_tensors(model, len(task.classes))
    label = network_label(network.name, network.model)
    load_checkpoint(model, network.start, key, "start", network.start_match, head, label)
    put_in_order(model, network.start, f"{key}.start", task, label)


def network_label(name: str, model: Mapping[str, Any] | None) -> str:
    """What people call a network: a library's by its name there, others as the config does."""
    options = model or {}
    is_of_library = name in LIBRARIES or options.get("architecture")
    return (_library_name(options) if is_of_library else None) or name


def _library_name(model: Mapping[str, Any]) -> str | None:
    """The name that timm or torchvision have for a network, or transformers for its kind."""
    architecture = model.get("architecture") or {}
    named = architecture.get("model_type") or model.get("name")
    return None if named is None else str(named)


def load_given_weights(model: nn.Module, teacher: ResolvedTeacher, key: str, task: Task) -> None:
    """Load all weights of a teacher that is not trained. Raises UserError as `load_checkpoint`."""
    assert teacher.given is not None
    assert teacher.given_by is not None
    by_start = teacher.given_by == "start"
    match = teacher.start_match if by_start else BY_NAME
    try:
        load_checkpoint(model, teacher.given, key, teacher.given_by, match, dropped_tensors(model))
    except UserError as error:
        if not by_start or " of shape " not in str(error):  # else of a head for other classes
            raise
        raise UserError(f"{error}{NEW_HEAD}") from error
    if gives_logits(model):
        at = f"{key}.{teacher.given_by}"
        put_in_order(model, teacher.given, at, task)
        note_other_labels(teacher.given, at, task)


def load_checkpoint(
    model: nn.Module,
    path: str | Path,
    key: str,
    option: str = "checkpoint",
    match: str = BY_NAME,
    head: Collection[str] = (),
    label: str | None = None,
) -> None:
    """Load a file of weights, which the option of a network names or leads to, into a model.

    A line in the log describes how the file was read.
    `FILE:PART` is a part of it. Raises UserError if the file is missing, damaged, a pickle, or does
    not fit the model.

    Args:
        match: of the tensors of the file with those of the model, BY_NAME or BY_POSITION.
        head: the names of those that become 0 if the file lacks them or has others.
        label: what the line in the log begins with; None: the key of the option.
    """
    try:
        if match == BY_POSITION:
            account: str | None = load_by_position(model, str(path), head)
        else:
            account = load_file_into(model, str(path), head, resamples=option == "start")
    except ValueError as error:
        raise UserError(f"{key}.{option} {error}") from error
    if account is not None:
        note_once(f"{label or f'{key}.{option}'}: {account}")


def extract_features(
    model: nn.Module,
    names: Sequence[str],
    key: str,
    dataset: Dataset,
    loss: Mapping[str, Any] | None = None,
) -> FeatureExtractor:
    """The model with an extractor of the named features; its logits must fit the data set.

    Raises UserError if a feature is not there, with the option of ``loss`` that names it, or the
    model does not fit the images or the classes.
    """
    if errors := feature_errors(model, names, key, loss or {}):
        raise UserError("\n".join(errors))
    network = FeatureExtractor(model, names)
    try:
        logits = dry_forward(network, dataset).logits
    except ClassMapError as error:
        raise UserError(class_map_message(error, key, loss or {})) from error
    except Exception as error:
        is_expected = isinstance(error, RuntimeError | ValueError)
        if not (is_expected or returns_logits(model)):
            raise
        shape = " x ".join(map(str, dataset.image_shape))
        why = error if is_expected else error_and_place(error)  # of the user's code
        raise UserError(f"{key}.model does not take images of {shape}: {why}") from error
    if gives_logits(model) and logits.shape != (2, dataset.num_classes):
        raise UserError(
            f"{key}.model must give {dataset.num_classes} logits, one a class of the data set,"
            f" got an output of shape {tuple(logits.shape[1:])}"
        )
    return network


def dry_forward(network: FeatureExtractor, dataset: Dataset) -> Output:
    """The output for two blank images in eval mode, without gradients; the mode is restored."""
    device = next(network.model.parameters()).device
    was_training = network.model.training
    network.model.eval()
    with torch.no_grad():
        output = network.with_train_features(torch.zeros(2, *dataset.image_shape, device=device))
    network.model.train(was_training)
    return Output(output.logits.cpu(), {k: v.cpu() for k, v in output.features.items()})
