"""A trained network with all that is needed to classify images.

Shapes: B images of (channels, H, W), C classes.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from json import JSONDecodeError
from typing import Any

import torch
from torch import Tensor, nn

from kdsweep.deploy.images import ImageError, ImageLike, as_list, names_of_files
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.predictions import Predictions
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.errors import UserError
from kdsweep.training.arithmetic import autocast

BATCH = 64  # images of a forward pass, by default: memory does not grow with their number


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A network in eval mode that takes images of any kind.

    Attributes:
        module: normalised images (B, channels, H, W) float32 -> logits (B, C), on ``device``.
        manifest: what it was built from.
        source: where it comes from: `folder` of its files; `run_id`, if it has a run in MLflow;
            name, cell, fingerprint and metrics of its run.
    """

    module: nn.Module
    manifest: Manifest
    source: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def from_pretrained(cls, repository: str | os.PathLike[str], **options: Any) -> "Classifier":
        """The classifier in a folder that `kdsweep push` has written, or of the Hugging Face Hub.

        ``options`` are those of huggingface_hub's `PyTorchModelHubMixin.from_pretrained` (revision,
        token, ...), and ``device``. Requires huggingface_hub (`kdsweep[hub]`).
        """
        # By name: the module imports this one, and an extra.
        hub = import_module("kdsweep.deploy.hub")
        try:
            pretrained = hub.PretrainedClassifier.from_pretrained(repository, **options)
        except JSONDecodeError as error:
            raise UserError(
                f"the repository must have a config.json in JSON, got {repository}: {error}"
            ) from error
        loaded: Classifier = pretrained.classifier
        return loaded

    def __repr__(self) -> str:
        """One line, for notebooks: its name, what it takes and what it gives."""
        name = self.source.get("name") or type(self.module).__name__
        shape = " x ".join(map(str, self.preprocessing.in_shape))
        return f"<Classifier {name}: images {shape}, {len(self.classes)} classes, on {self.device}>"

    @property
    def classes(self) -> list[str]:
        """The names of the C classes, in the order of the logits."""
        return list(self.manifest.classes)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images are prepared."""
        return self.manifest.preprocessing

    def predict(self, images: Any, *, top: int = 5, batch_size: int = BATCH) -> Predictions:
        """The predictions of one image, a batch or a sequence of images.

        Args:
            images: paths, bytes, open files, Pillow images; NumPy arrays (H, W) or (H, W, channels)
                or (B, H, W, channels); tensors (channels, H, W) or (B, channels, H, W). Numbers
                are uint8, or floating-point in [0, 1]: pixels, not normalised.
            top: classes of each image in `Prediction.top`, at most.
            batch_size: images in a forward pass.

        Raises ImageError (a ValueError) for an image that cannot be read, and names it.
        """
        if top < 1 or batch_size < 1:
            raise ValueError(f"top and batch_size must be >= 1, got {top} and {batch_size}")
        listed = as_list(images)
        files = tuple(names_of_files(listed))
        return Predictions(self._logits(listed, batch_size), self.manifest.classes, files, top)

    def logits(self, images: Any, *, batch_size: int = BATCH) -> Tensor:
        """The logits (B, C) of images, as for `predict`; float32, on the CPU."""
        return self._logits(as_list(images), batch_size)

    def logits_of_pixels(self, pixels: Tensor) -> Tensor:
        """The logits (B, C) of uint8 pixels (B, channels, H, W) as `preprocessing.pixels` gives."""
        with torch.inference_mode(), autocast(self.device, self.manifest.precision):
            logits: Tensor = self.module(self.preprocessing.normalize(pixels).to(self.device))
        return logits.float().cpu()

    def _logits(self, images: Sequence[ImageLike], batch_size: int) -> Tensor:
        logits = [torch.zeros(0, len(self.manifest.classes))]
        for pixels in self._batches(images, batch_size):
            logits.append(self.logits_of_pixels(pixels))
        return torch.cat(logits)

    def _batches(self, images: Sequence[ImageLike], batch_size: int) -> Iterator[Tensor]:
        for start in range(0, len(images), batch_size):
            read = read_pixels(self.preprocessing, images[start : start + batch_size])
            for one in read:
                if isinstance(one, ImageError):
                    raise one
            yield torch.stack([one for one in read if isinstance(one, Tensor)])


def read_pixels(
    preprocessing: Preprocessing, images: Sequence[ImageLike]
) -> list[Tensor | ImageError]:
    """The pixels of each image, or why it cannot be read; in threads, in order."""

    def attempt(image: ImageLike) -> Tensor | ImageError:
        try:
            return preprocessing.pixels(image)
        except ImageError as error:
            return error

    # Pillow warns of odd but harmless things (transparency of a palette, very large images).
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(attempt, images))
