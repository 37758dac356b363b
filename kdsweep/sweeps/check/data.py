"""Checks of a data source and of the user's augmentations: the same images every time."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsweep.builders.augmentations import build_own_augmentations
from kdsweep.builders.data import build_source
from kdsweep.config.schema import AugmentConfig, DatasetConfig
from kdsweep.data.pipeline.source_checks import check_source_data, require_same_kind
from kdsweep.data.types import Augmentation, SourceData
from kdsweep.sweeps.check import contract
from kdsweep.sweeps.check.contract import Broken, Part
from kdsweep.training.one_device import META


def check_source(part: Part, dataset: DatasetConfig) -> None:
    """The source of a data set; its images are read twice."""
    source = part.made(lambda: build_source(dataset))
    if source is None:
        return
    loaded = part.made(source.load, "loads")
    if loaded is None:
        return
    with part.check(contract.SHAPES):
        check_source_data(loaded)
    with part.check(contract.DETERMINISTIC):
        again = build_source(dataset)
        contract.require_equal(
            "labels and images in memory", _tensors(loaded), _tensors(again.load())
        )
        digests = source.digest(), again.digest()
        if not isinstance(digests[0], str) or digests[0] != digests[1]:
            raise Broken(f"digest must be the same text twice, got {digests[0]} and {digests[1]}")

    def with_node(node: dict[str, Any]) -> object:
        return build_source(DatasetConfig(**{**vars(dataset), "source": node}))

    part.check_round_trip(with_node)


def _tensors(data: SourceData) -> dict[str, Tensor]:
    tensors = {}
    for name, part in {"train": data.train, "val": data.val, "test": data.test}.items():
        if part is not None:
            tensors[f"label of {name}"] = part.labels
            if isinstance(part.images, Tensor):  # those on disk are identified by the digest
                tensors[f"image of {name}"] = part.images
    return tensors


def check_augmentation(part: Part, images: Tensor) -> None:
    """An augmentation of the user's, on images uint8 (B, channels, H, W)."""

    def build(node: dict[str, Any] = dict(part.node)) -> Augmentation:  # noqa: B006
        (made,) = build_own_augmentations(AugmentConfig(own={"checked": node})).values()
        return made

    augment = part.made(build)
    if augment is None:
        return
    with part.check(contract.SHAPES):
        given = images.clone()
        require_same_kind(images, augment(given, _generator()))
        if not torch.equal(given, images):
            raise Broken("the given images must stay as they are, got others: copy them first")
    with part.check(contract.NO_WAITING), contract.on_meta():
        augment(torch.empty_like(images, device=META), _generator())
    with part.check(contract.DETERMINISTIC):
        results = []
        for seed in range(2):  # random numbers from anywhere but the generator differ
            for draws in (torch.manual_seed, np.random.seed, random.seed):
                draws(seed)
            results.append({"image": build()(images.clone(), _generator())})
        contract.require_equal("images of a generator", *results)
    part.check_round_trip(build)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
