"""The stream: the seeded, replayable order of training batches with their augmentation.

Shapes: N images in the training split, B in a batch, each (channels, H, W).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from kdsweep.common.rng import derive
from kdsweep.common.teacher_views import CENTRE, SAME, WEAK
from kdsweep.common.types import Batch
from kdsweep.common.validation import check_whole, require
from kdsweep.data.pipeline.augment import Augment
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.mixup import BatchMix, BatchMixer
from kdsweep.data.pipeline.normalize import Normalize
from kdsweep.data.pipeline.strong_view import StrongBatch, StrongView
from kdsweep.data.pipeline.training_views import TrainingViews, ViewParams
from kdsweep.data.types import Augmentation, LabelledImages, in_order

BATCH_SIZE = "trainer.batch_size"


def all_rows(count: int) -> slice:
    """The rows of a batch of so many images."""
    return slice(0, count)


class Stream:
    """Batches of augmented, normalised training images; (seed, epoch) alone decide them.

    Every epoch has each image once. The last, smaller batch is kept unless it holds a single image,
    which BatchNorm cannot process. No state is kept between epochs, and nothing waits for the
    device: all random numbers of an epoch are drawn on the CPU and moved once, when it begins.
    Images in memory are on the device; those on disk are moved batch by batch.
    """

    def __init__(
        self,
        data: LabelledImages,
        *,
        batch_size: int,
        seed: int,
        augment: Augment,
        mix: BatchMixer | None = None,
        strong: StrongView | None = None,
        views: TrainingViews | None = None,
        teacher_view: str = SAME,
        own: Mapping[str, Augmentation] | None = None,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
        rows: Callable[[int], slice] = all_rows,
    ) -> None:
        """``mean`` and ``std``: one number per channel, in units of [0, 1] pixels.

        ``views``: what is done to the images in addition to ``augment``, which follows their crop.
        ``own``: augmentations of the user's by name, which follow their colours in their order.
        ``teacher_view``: of a batch that the teacher sees: ``same``, ``weak`` (before its colours)
        or ``centre`` (as in evaluation).

        With ``strong``, batches have a second view of their images, whose random numbers are drawn
        apart: the first one is the same without it. ``rows``: of a batch of so many images, those
        whose pixels it has; labels and positions are of all of them.

        Raises ValueError if batch_size is no whole number from 1 to N.
        """
        check_whole(BATCH_SIZE, batch_size, least=1)
        most = len(data.labels)
        require(batch_size <= most, BATCH_SIZE, f"at most the {most} training images", batch_size)
        self.data = data.to(device)
        self.batch_size, self.seed = batch_size, seed
        self.augment, self.mix = augment, mix or BatchMixer()
        self.strong = strong or StrongView(augment)
        self.views, self.teacher_view = views or TrainingViews(), teacher_view
        self.own = dict(own or {})
        self.device, self.rows = torch.device(device), rows
        self._normalise = Normalize(mean, std, self.device)
        colour = torch.tensor(list(mean)).mul(255).round().clamp(0, 255).byte()
        self._mean_colour = colour.view(-1, 1, 1).to(self.device)

    @property
    def images_per_epoch(self) -> int:
        """N, or N - 1 where the last batch would hold a single image."""
        num_images = len(self.data.labels)
        has_single_last = self.batch_size > 1 and num_images % self.batch_size == 1
        return num_images - has_single_last

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return -(-self.images_per_epoch // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, on the stream's device."""
        for pixels, mix in zip(self.pixels(epoch), self._mixes(epoch), strict=False):
            batch = pixels.with_views(self._normalise)
            batch = batch if mix is None else self.mix.apply(batch, mix)
            yield self._with_rows(batch) if self._reads_all else batch

    @property
    def _reads_all(self) -> bool:
        """Whether it reads all rows of a batch: where they are mixed, or augmented as a whole."""
        return bool(self.mix) or bool(self.strong) or bool(self.own)

    def _with_rows(self, batch: Batch) -> Batch:
        """A batch with the pixels of its rows alone."""
        rows = self.rows(len(batch.labels))
        return batch.with_views(lambda images: images[rows])

    def pixels(self, epoch: int) -> Iterator[Batch]:
        """The same batches before normalisation and mixing: augmented uint8 images.

        Of all rows where images are mixed, have a strong view or augmentations of the user's.
        """
        generator = self._generator(epoch)
        order = self._shuffled(generator)
        params = self.augment.draw(len(order), generator)
        order = order[: self.images_per_epoch]

        index = order.to(self.device, non_blocking=True)
        labels = self.data.labels.index_select(0, index).split(self.batch_size)
        rows_of = all_rows if self._reads_all else self.rows
        rows = [rows_of(len(batch)) for batch in labels]
        batches = zip(
            self._read(order, index, rows),
            labels,
            index.split(self.batch_size),
            rows,
            params.to(self.device).split(self.batch_size),
            self._strong_params(epoch),
            self._view_params(epoch, rows),
            strict=False,  # the parameters of a dropped last image are left over
        )
        for step, (images, label, position, kept, param, drawn, view) in enumerate(batches):
            placed = self.views.placed(images, view)
            strong = None if drawn is None else self.strong.apply(placed, drawn)
            weak = self.augment.apply(placed, param.rows(kept))
            augmented = self._by_own(self.views.coloured(weak, view), epoch, step)
            augmented = self.views.erased(augmented, view, self._mean_colour)
            teacher = self._of_teacher(images, weak)
            yield Batch(augmented, label, position, strong=strong, teacher=teacher)

    def order(self, epoch: int) -> Tensor:
        """Positions of an epoch's images in its order, (`images_per_epoch`,) int64, on the CPU."""
        return self._shuffled(self._generator(epoch))[: self.images_per_epoch]

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive("stream", self.seed, epoch))

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        """The positions of all images: what is drawn first in an epoch."""
        return torch.randperm(len(self.data.labels), generator=generator)

    def _of_teacher(self, images: Tensor, weak: Tensor) -> Tensor | None:
        """The pixels that the teacher sees, where they are not those of its students."""
        if self.teacher_view == CENTRE:
            return images if self.views.view is None else self.views.view(images)
        return weak if self.teacher_view == WEAK else None

    def _by_own(self, images: Tensor, epoch: int, step: int) -> Tensor:
        """Images (B, channels, H, W) after the user's augmentations, each with draws of its own."""
        for name, augmentation in self.own.items():
            seed = derive("own", name, self.seed, epoch, step)
            images = augmentation(images, torch.Generator().manual_seed(seed))
        return images

    def _mixes(self, epoch: int) -> Iterable[BatchMix | None]:
        """How each batch is mixed; None without mixing."""
        if not self.mix:
            return repeat(None)
        generator = np.random.default_rng(derive("mix", self.seed, epoch))
        whole, rest = divmod(self.images_per_epoch, self.batch_size)
        sizes = [self.batch_size] * whole + [rest] * bool(rest)
        return self.mix.draw_all(sizes, self.views.size(self._stored), generator, self.device)

    def _strong_params(self, epoch: int) -> Iterable[StrongBatch | None]:
        """The parameters of each batch's strong view; None without one."""
        if not self.strong:
            return repeat(None)
        generator = torch.Generator().manual_seed(derive("strong", self.seed, epoch))
        params = self.strong.draw(len(self.data.labels), generator)
        return params.batches(self.batch_size, self.device)

    def _view_params(self, epoch: int, rows: Sequence[slice]) -> Iterable[ViewParams]:
        """The parameters of the views of the rows of each batch, the same for any batch size."""
        places = torch.arange(self.images_per_epoch).split(self.batch_size)
        parts = [batch[part] for batch, part in zip(places, rows, strict=True)]
        count = len(self.data.labels)
        return self.views.draw(count, self._stored, parts, self.device, self.seed, epoch)

    @property
    def _stored(self) -> tuple[int, int]:
        """(H, W) of the images before they are augmented."""
        *_, height, width = self.data.images.shape
        return height, width

    def _read(self, order: Tensor, index: Tensor, rows: Sequence[slice]) -> Iterator[Tensor]:
        """Original pixels in the given order, which ``index`` holds on the device.

        ``rows`` are those of each batch that are read.
        """
        images = self.data.images
        positions = order if not isinstance(images, Tensor) else index
        batches = positions.split(self.batch_size)
        own = [batch[part] for batch, part in zip(batches, rows, strict=True)]
        if isinstance(images, Tensor):
            for position in own:
                yield images.index_select(0, position)  # twice as fast as images[position]
        else:
            for pixels in images.read(own, pinned=self.device.type == "cuda"):
                yield _moved(pixels, self.device)


def evaluation_batches(
    data: LabelledImages,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    view: CentralView | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """All images in order, normalised, not augmented; the last batch may be smaller.

    ``view``: of each image, unless they are evaluated as they are.
    """
    check_whole(BATCH_SIZE, batch_size, least=1)
    normalise = Normalize(mean, std, torch.device(device))
    labels = data.labels.to(device, non_blocking=True).split(batch_size)
    index = torch.arange(len(data.labels), device=device).split(batch_size)
    pinned = torch.device(device).type == "cuda"
    for pixels, label, position in zip(
        in_order(data.images, batch_size, pinned=pinned), labels, index, strict=True
    ):
        moved = _moved(pixels, torch.device(device))
        yield Batch(normalise(moved if view is None else view(moved)), label, position)


def sample_images(stream: Stream, count: int) -> tuple[Tensor, Tensor]:
    """The first augmented, un-normalised training images of epoch 0, for a figure.

    Returns uint8 (n, channels, H, W) and labels (n,), on the CPU; n is ``count`` or, if that is
    less, all images of the epoch.
    """
    images, labels, num_images = [], [], 0
    for batch in stream.pixels(0):
        images.append(batch.images.cpu())
        labels.append(batch.labels.cpu())
        num_images += len(batch.labels)
        if num_images >= count:
            break
    return torch.cat(images)[:count], torch.cat(labels)[:count]


def _moved(pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels on a device. On CUDA from pinned memory, or the host would wait for earlier work."""
    if device.type == "cuda" and pixels.device.type == "cpu":
        pixels = pixels.pin_memory()  # which copies nothing if they are there already
    return pixels.to(device, non_blocking=True)
