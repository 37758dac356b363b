"""Networks of students and teachers, with the features that loss terms require."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.common.notices import note_once
from kdsweep.common.rng import derive
from kdsweep.common.types import Output
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import UserError
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.components.input_normalization import adapt_input
from kdsweep.training.weight_match import load_file_into


def build_network(dataset: Dataset, node: dict[str, Any], key: str) -> nn.Module:
    """A model for the images of a data set with its normalisation."""
    shape, num_classes = dataset.image_shape, dataset.num_classes
    model = instantiate_node(node, f"{key}.model", in_shape=shape, num_classes=num_classes)
    assert isinstance(model, nn.Module)
    adapt_input(model, dataset.mean, dataset.std)
    return model


def build_teacher_network(
    node: dict[str, Any],
    seed: int,
    dataset: Dataset,
    features: Sequence[str] = (),
    key: str = "teacher",
) -> FeatureExtractor:
    """A teacher's network with its initial weights, and an extractor of its features."""
    with torch.random.fork_rng():
        torch.manual_seed(derive("student", seed))
        model = build_network(dataset, node, key)
    return extract_features(model, features, key, dataset)


def load_checkpoint(model: nn.Module, path: str | Path, key: str) -> None:
    """Load a file of weights into a model; a line in the log says how the file was read.

    `FILE:PART` is a part of it. Raises UserError if the file is missing, damaged, a pickle, or does
    not fit the model.
    """
    try:
        account = load_file_into(model, str(path))
    except ValueError as error:
        raise UserError(f"{key}.checkpoint {error}") from error
    if account is not None:
        note_once(f"{key}.checkpoint: {account}")


def extract_features(
    model: nn.Module, names: Sequence[str], key: str, dataset: Dataset
) -> FeatureExtractor:
    """The model with an extractor of the named features; its logits must fit the data set.

    Raises UserError if a feature is not there, or the model does not fit the images or the classes.
    """
    try:
        network = FeatureExtractor(model, names)
    except ValueError as error:
        raise UserError(f"loss needs a feature that the {key} does not have: {error}") from error
    try:
        logits = dry_forward(network, dataset).logits
    except (RuntimeError, ValueError) as error:
        shape = " x ".join(map(str, dataset.image_shape))
        raise UserError(f"{key}.model does not take images of {shape}: {error}") from error
    if logits.shape != (2, dataset.num_classes):
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
        output = network(torch.zeros(2, *dataset.image_shape, device=device))
    network.model.train(was_training)
    return Output(output.logits.cpu(), {k: v.cpu() for k, v in output.features.items()})
