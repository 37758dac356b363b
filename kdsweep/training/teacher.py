"""A teacher: a trained, frozen network, evaluated once per batch for the whole cohort.

Shapes: B images in a batch, C classes.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch

from kdsweep.common.types import Batch, Output
from kdsweep.models.components.embedding_output import gives_logits
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.arithmetic import autocast
from kdsweep.training.checkpoint import sha256
from kdsweep.training.folding import Folding
from kdsweep.training.views import output_of_views


class Teacher:
    """Always in eval mode, without gradients; its weights never change.

    The network has the features that some student of the cohort needs. Those in train mode cost a
    second forward pass, which leaves the running statistics as they are. The precision is "fp32" or
    "bf16" (autocast); outputs are float32 in both cases. The logits are rounded to
    ``logits_dtype``, "fp32" or "fp16", whether they are kept on disk or not. ``folding``: the
    BatchNorms of the network that are folded; it has no features then.
    """

    def __init__(
        self,
        network: FeatureExtractor,
        *,
        precision: str = "fp32",
        logits_dtype: str = "fp32",
        folding: Folding | None = None,
        device: str = "cpu",
    ) -> None:
        self.network, self.precision, self.logits_dtype = network, precision, logits_dtype
        self.folding = folding
        self.networks = (network,)  # the only one
        self.device = torch.device(device)
        network.model.eval().requires_grad_(False)

    @property
    def gives_logits(self) -> bool:
        """False for a network without a classifier, whose features alone are targets."""
        return gives_logits(self.network.model)

    @property
    def teachers(self) -> tuple["Teacher", ...]:
        """The only one: an ensemble has its members here."""
        return (self,)

    @cached_property
    def weights_sha256(self) -> str:
        """The digest of its weights, computed once for all cohorts of a process."""
        return sha256(self.network.model)

    def targets(self, batch: Batch, step: int) -> Output:
        """Its output for each view of a batch that it sees, with the features of train mode."""
        forward = partial(self._forward, self.network.with_train_features)
        return output_of_views(forward, batch.as_seen_by_teacher())

    def __call__(self, images: torch.Tensor) -> Output:
        """Logits (B, C) and features of normalised images (B, channels, H, W)."""
        return self._forward(self.network, images)

    @torch.no_grad()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) alone, for evaluation: no feature is copied."""
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self.network.model(images)
        return _rounded(logits.float(), self.logits_dtype)

    @torch.no_grad()  # not inference_mode: its tensors cannot take part in a student's backward
    def _forward(self, network: Callable[[torch.Tensor], Output], images: torch.Tensor) -> Output:
        with autocast(self.device, self.precision):
            output = network(images)
        target = detached_output(output)
        return target._replace(logits=_rounded(target.logits, self.logits_dtype))


class Ensemble:
    """Several teachers; the output of each is kept in ``Output.members``."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self.teachers = tuple(teachers)
        self.networks = tuple(teacher.network for teacher in teachers)  # in the same order

    def targets(self, batch: Batch, step: int) -> Output:
        """Their output for a batch, with the features of train mode."""
        return mean_output([teacher.targets(batch, step) for teacher in self.teachers])

    def __call__(self, images: torch.Tensor) -> Output:
        """The members' outputs for normalised images (B, channels, H, W), and their mean."""
        return mean_output([teacher(images) for teacher in self.teachers])

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) whose softmax is the mean of the members', for evaluation."""
        return mean_output([Output(one.logits(images), {}) for one in self.teachers]).logits


def detached_output(output: Output) -> Output:
    """An output as a target: float32, without gradient."""
    features = {name: feature.detach().float() for name, feature in output.features.items()}
    strong = None if output.strong is None else detached_output(output.strong)
    return Output(output.logits.detach().float(), features, strong=strong)


def _rounded(logits: torch.Tensor, name: str) -> torch.Tensor:
    """Contiguous float32 logits (B, C) that the named type holds exactly."""
    rounded = logits.half().float() if name == "fp16" else logits
    return rounded.contiguous()


def mean_output(outputs: Sequence[Output]) -> Output:
    """An output with these members, whose softmax is the mean of theirs: logits (B, C)."""
    log_probs = torch.stack([output.logits.log_softmax(1) for output in outputs])
    strong = [output.strong for output in outputs if output.strong is not None]
    return Output(
        log_probs.logsumexp(0) - math.log(len(outputs)),
        {},
        tuple(outputs),
        mean_output(strong) if strong else None,
    )
