"""Checks of a network: images in, logits out, a gradient for its weights."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.builders.models import ImageSize, build_network
from kdsweep.common.rng import reseed_all
from kdsweep.common.types import Batch
from kdsweep.data.pipeline.split import Dataset
from kdsweep.deploy.architecture import build_module, described, expectation
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.sweeps.check import contract
from kdsweep.sweeps.check.contract import Broken, Part
from kdsweep.training.one_device import META


def check_network(
    part: Part, dataset: Dataset, batch: Batch, key: str, image_size: ImageSize = None
) -> nn.Module | None:
    """The network of a student or a teacher; None if it cannot be built.

    ``key``: of the student or the teacher, `student`. ``image_size``: of its images.
    """

    def build(node: dict[str, Any] = dict(part.node)) -> nn.Module:  # noqa: B006
        reseed_all("check", 0)
        return build_network(dataset, node, key, image_size)

    model = part.made(build)
    if model is None:
        return None
    with part.check(contract.SHAPES):
        for is_training in (True, False):
            _check_shape(model.train(is_training)(batch.images), batch, dataset, is_training)
    with part.check(contract.FINITE):
        for is_training in (True, False):
            contract.require_finite("logits", model.train(is_training)(batch.images))
    with part.check(contract.GRADIENT):
        _check_gradient(build(), batch)
    with part.check(contract.NO_WAITING):
        _check_on_meta(build(), batch)
    with part.check(contract.DETERMINISTIC):
        _check_deterministic(build, batch)
    part.check_round_trip(lambda node: _load_again(build(node), node, dataset, batch, image_size))
    return model.train()


def _check_shape(logits: object, batch: Batch, dataset: Dataset, is_training: bool) -> None:
    expected, mode = (len(batch.labels), dataset.num_classes), "train" if is_training else "eval"
    if not isinstance(logits, Tensor) or logits.shape != expected:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise Broken(f"logits must be {expected} in {mode} mode, got {got}")


def _check_gradient(model: nn.Module, batch: Batch) -> None:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise Broken("some parameter must be trained, got none with requires_grad")
    F.cross_entropy(model.train()(batch.images), batch.labels).backward()
    reached = {name: p.grad for name, p in trained.items() if p.grad is not None}
    if not any(bool(gradient.any()) for gradient in reached.values()):
        raise Broken("the loss must have a gradient for its parameters, got none")
    for name, gradient in reached.items():
        contract.require_finite(f"the gradient of {name}", gradient)


def _check_on_meta(model: nn.Module, batch: Batch) -> None:
    model = model.to(META).train()
    images, labels = (torch.empty_like(one, device=META) for one in (batch.images, batch.labels))
    with contract.on_meta():
        F.cross_entropy(model(images), labels).backward()


def _check_deterministic(build: Callable[[], nn.Module], batch: Batch) -> None:
    """Twice the weights of a seed, and twice the same step, whatever has been drawn meanwhile."""
    first, second = build(), build()
    contract.require_equal("initial weights", first.state_dict(), second.state_dict())

    def step(model: nn.Module) -> dict[str, Tensor]:
        reseed_all("check", "step")
        logits = model.train()(batch.images)
        F.cross_entropy(logits, batch.labels).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        return {"logits": logits.detach(), **gradients, **dict(model.named_buffers())}

    contract.require_equal("a step", step(deepcopy(first)), step(second))


def _load_again(
    model: nn.Module,
    node: dict[str, Any],
    dataset: Dataset,
    batch: Batch,
    image_size: ImageSize,
) -> None:
    """As `kdsweep.load` builds it. Raises Broken if it computes something else."""
    model.eval()
    preprocessing = Preprocessing.of(dataset, image_size)
    manifest = Manifest(
        model=described(node, preprocessing.in_shape, dataset.num_classes),
        classes=dataset.class_names,
        preprocessing=preprocessing,
        **expectation(model),
    )
    again = build_module(manifest)
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = (
            {"logits": model(batch.images)},
            {"logits": again(preprocessing.resize(batch.images))},
        )
    contract.require_equal("the logits of a network that is loaded again", *logits)
