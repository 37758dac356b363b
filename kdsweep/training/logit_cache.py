"""A frozen teacher whose logits are kept on disk: what was computed before costs no forward pass.

It is for teachers of which no loss term reads features. Reading returns the bits that computing
does: the teacher rounds its logits to the type they are kept in.

Shapes: N images, V views of each, M teachers, B images in a batch, C classes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.types import Batch, Output
from kdsweep.data.pipeline.stream import Stream
from kdsweep.training.evaluation import Split, predict
from kdsweep.training.teacher import Ensemble, Teacher, mean_output

LOGITS = "logits"  # the kind of these entries of the cache
WAITING_BYTES = 64 * 2**20  # of logits on the device that are moved at once: each move waits for it


class TargetSource(Protocol):
    """What an epoch's targets come from."""

    def targets(self, batch: Batch, step: int) -> Output: ...


class CachedTeacher:
    """A teacher, or an ensemble, with a cache for its logits.

    Args:
        teacher: frozen, without features.
        identity: all that decides the bits of its logits on a split, as plain values: its network,
            how and by what that is computed, and the data.
        stream: what else decides those of an epoch: seed, augmentation, batches.
        num_classes: C.
        description: for people, of every entry.
    """

    def __init__(
        self,
        teacher: Teacher | Ensemble,
        cache: DiskCache,
        *,
        identity: Mapping[str, Any],
        stream: Mapping[str, Any],
        num_classes: int,
        description: str,
    ) -> None:
        self.teacher, self.networks = teacher, teacher.networks
        self._cache, self._identity, self._stream = cache, identity, stream
        self._num_classes, self._description = num_classes, description

    def targets(self, batch: Batch, step: int) -> Output:
        """Computed, not read: outside of `epoch` it is not known which batch it is."""
        return self.teacher.targets(batch, step)

    def __call__(self, images: Tensor) -> Output:
        """Logits (B, C) of normalised images (B, channels, H, W), computed."""
        return self.teacher(images)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C) alone, computed."""
        return self.teacher.logits(images)

    @contextmanager
    def epoch(self, stream: Stream, epoch: int) -> Iterator[TargetSource]:
        """Yield what an epoch's targets come from: the cache, or the teacher.

        In the latter case they are kept, unless the block ends before the last batch.
        """
        key = self._key(stream=self._stream, epoch=epoch)
        batches = stream.order(epoch).split(stream.batch_size)
        kept = self._cache.read(LOGITS, key)
        if kept is not None:
            yield _Kept(kept, batches, stream.device, isinstance(self.teacher, Ensemble))
            return
        shape = (len(stream.data.labels), 1 + bool(stream.strong), len(self.networks))
        with (
            suppress(_IncompleteError),
            self._cache.write(
                LOGITS,
                key,
                (*shape, self._num_classes),
                self._dtype,
                self._description,
                group=self._key(stream=self._stream),  # the other epochs are read in turn
            ) as array,
        ):
            if array is None:
                yield self.teacher
                return
            recorded = _Recorded(self.teacher, array, batches)
            yield recorded
            recorded.finish()

    def split_logits(self, split: Split) -> Tensor:
        """Its logits (N, C) on a split, read or computed."""
        key, count = self._key(split=split.name), len(split.labels)
        kept = self._cache.read(LOGITS, key)
        if kept is not None:
            return torch.from_numpy(np.array(kept)).to(split.labels.device)
        (logits,) = predict(split.batches(), [self.teacher.logits])
        shape, name = (count, self._num_classes), self._description
        with self._cache.write(LOGITS, key, shape, np.float32, name) as array:
            if array is not None:
                array[:] = logits.cpu().numpy()
        return logits

    @property
    def _dtype(self) -> np.dtype[Any]:
        """float16 if all logits are rounded to that, else float32, which holds both exactly."""
        is_half = all(teacher.logits_dtype == "fp16" for teacher in self.teacher.teachers)
        return np.dtype(np.float16 if is_half else np.float32)

    def _key(self, **which: Any) -> str:
        text = json.dumps({**self._identity, **which}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class _Kept:
    """The targets of an epoch from an array (N, V, M, C), without waiting for the device."""

    def __init__(
        self,
        array: NDArray[Any],
        batches: tuple[Tensor, ...],
        device: torch.device,
        is_ensemble: bool,
    ) -> None:
        self._array, self._batches = array, batches
        self._device, self._is_ensemble = device, is_ensemble
        self._dtype = torch.float16 if array.dtype == np.float16 else torch.float32

    def targets(self, batch: Batch, step: int) -> Output:
        rows = self._batches[step]
        # torch's own memory is aligned as that of computed logits; some kernels depend on it.
        shape, on_cuda = (len(rows), *self._array.shape[1:]), self._device.type == "cuda"
        logits = torch.empty(shape, dtype=self._dtype, pin_memory=on_cuda)
        np.take(self._array, rows.numpy(), axis=0, out=logits.numpy(), mode="clip")
        logits = logits.to(self._device, non_blocking=True).float()
        members = [_output(views) for views in logits.unbind(2)]
        return mean_output(members) if self._is_ensemble else members[0]


class _Recorded:
    """The targets of an epoch from its teacher, copied to an array (N, V, M, C)."""

    def __init__(
        self, teacher: Teacher | Ensemble, array: NDArray[Any], batches: tuple[Tensor, ...]
    ) -> None:
        self._teacher, self._array, self._batches = teacher, array, batches
        self._waiting: list[Tensor] = []  # logits of the batches after `_written`
        self._waiting_bytes = 0
        self._written = 0  # batches

    def targets(self, batch: Batch, step: int) -> Output:
        output = self._teacher.targets(batch, step)
        logits = _packed(output)
        self._waiting.append(logits)
        self._waiting_bytes += logits.nbytes
        if self._waiting_bytes >= WAITING_BYTES:
            self._write()
        return output

    def finish(self) -> None:
        """Raises _IncompleteError if the epoch ended early."""
        self._write()
        if self._written < len(self._batches):
            raise _IncompleteError

    def _write(self) -> None:
        for logits in self._waiting:
            self._array[self._batches[self._written].numpy()] = logits.cpu().numpy()
            self._written += 1
        self._waiting.clear()
        self._waiting_bytes = 0


class _IncompleteError(Exception):
    """An epoch was not trained to its end."""


def _packed(output: Output) -> Tensor:
    """The logits (B, V, M, C) of an output."""
    views = [output] if output.strong is None else [output, output.strong]
    return torch.stack(
        [
            torch.stack([member.logits for member in view.members or (view,)], dim=1)
            for view in views
        ],
        dim=1,
    )


def _output(views: Tensor) -> Output:
    """The output of a teacher with logits (B, V, C)."""
    weak, *strong = (logits.contiguous() for logits in views.unbind(1))
    return Output(weak, {}, strong=Output(strong[0], {}) if strong else None)
