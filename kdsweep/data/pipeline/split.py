"""From a source to the data set a run trains on: test, val and training split, and statistics.

Shapes: N training images of (channels, H, W), C classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdsweep.common.rng import derive
from kdsweep.common.text import escape_unprintable
from kdsweep.data.checks import check_count, check_fraction, check_whole, per_channel, shown
from kdsweep.data.pipeline.pixel_stats import pixel_statistics
from kdsweep.data.pipeline.stratify import Pools, cut, cut_fraction, positions, shuffled_pools, size
from kdsweep.data.types import LabelledImages, Source, SourceData


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts of one source, and what normalisation and models need to know.

    The index tensors hold each image's position in the part of the source it was cut from: the
    source's own test (val) set if it has one, else its training set.
    """

    name: str
    train: LabelledImages
    val: LabelledImages | None  # None with dataset.val_fraction=0
    test: LabelledImages
    class_names: tuple[str, ...]  # C of them
    mean: tuple[float, ...]  # per channel, in units of [0, 1] pixels
    std: tuple[float, ...]
    digest: str  # sha256 over pixels, labels and split
    train_index: Tensor  # (N,) int64, ascending, CPU
    val_index: Tensor | None
    test_index: Tensor

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def to(self, device: torch.device | str) -> "Dataset":
        """A copy whose images and labels are on another device; the index tensors stay."""
        return replace(
            self,
            train=self.train.to(device),
            val=None if self.val is None else self.val.to(device),
            test=self.test.to(device),
        )


def load_dataset(
    source: Source,
    *,
    name: str,
    val_fraction: float,
    test_fraction: float | None,
    split_seed: int,
    train_fraction: float,
    limit: int | None,
    per_class: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    classes: int | None,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Load a source and split it, stratified, by ``split_seed`` alone.

    First the test set is cut off (``test_fraction`` of everything, if the source has none), then
    the validation set (``val_fraction`` of the rest, if the source has none), then the training
    split is reduced to ``train_fraction`` of itself, to at most ``per_class`` images of each class,
    and to at most ``limit`` images. So no reduction ever changes what a run is judged on.

    ``mean`` and ``std`` (per channel, in units of [0, 1] pixels) are those of the training split
    *before* it is reduced, so that a teacher and its students see the same images; or those given.

    Raises:
        ValueError: a value is out of its range, does not fit the data, or leaves a part empty or
            the training split without some class. The sentence names the key.
    """
    check_fraction("dataset.val_fraction", val_fraction)
    check_whole("dataset.split_seed", split_seed, least=0)
    check_fraction("dataset.train_fraction", train_fraction, zero=False, one=True)
    check_count("dataset.per_class", per_class)
    check_count("dataset.limit", limit)

    raw = source.load()
    _check_classes(raw, name, classes)
    _check_test_fraction(raw, name, test_fraction)

    names = tuple(escape_unprintable(name) for name in raw.class_names)
    everything = shuffled_pools(raw.train.labels, len(names), derive("split", split_seed))
    _check_every_class(everything, names, "dataset.source", name)
    test, test_index, rest = _part(raw, raw.test, everything, "test_fraction", test_fraction or 0)
    val, val_index, whole = _part(raw, raw.val, rest, "val_fraction", val_fraction)
    assert test is not None
    assert test_index is not None
    means, stds = _statistics(raw.train, positions(whole), mean, std)
    train_index = positions(_reduce(whole, names, train_fraction, per_class, limit))
    return Dataset(
        name=name,
        train=raw.train.subset(train_index),
        val=val,
        test=test,
        class_names=names,
        mean=means,
        std=stds,
        digest=_digest(raw, source, (train_index, val_index, test_index)),
        train_index=train_index,
        val_index=val_index,
        test_index=test_index,
    ).to(device)


def _part(
    raw: SourceData, own: LabelledImages | None, pools: Pools, key: str, fraction: float
) -> tuple[LabelledImages | None, Tensor | None, Pools]:
    """The source's own part, else a fraction of the pools; its index; the pools that are left."""
    if own is not None:
        return own, torch.arange(len(own.labels)), pools
    if fraction == 0:
        return None, None, pools
    front, rest = cut_fraction(pools, fraction)
    if size(front) == 0:
        raise ValueError(
            f"dataset.{key} must give at least one image of the {size(pools)} there are, "
            f"got {shown(fraction)}"
        )
    _check_every_class(rest, raw.class_names, f"dataset.{key}", fraction)
    index = positions(front)
    return raw.train.subset(index), index, rest


def _reduce(
    pools: Pools,
    names: tuple[str, ...],
    train_fraction: float,
    per_class: int | None,
    limit: int | None,
) -> Pools:
    """What is left of the training split."""
    if train_fraction < 1:
        pools, _ = cut_fraction(pools, train_fraction)
        _check_every_class(pools, names, "dataset.train_fraction", train_fraction)
    if per_class is not None:
        largest = max(map(len, pools))
        _check_at_most("per_class", per_class, largest, "the training images of the largest class")
        pools = [pool[:per_class] for pool in pools]
    if limit is not None:
        _check_at_most("limit", limit, size(pools), "the training images there are")
        pools, _ = cut(pools, limit)
        _check_every_class(pools, names, "dataset.limit", limit)
    return pools


def _statistics(
    images: LabelledImages, index: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The given mean and std, checked; computed from the images at ``index`` if not given."""
    channels = images.images.shape[1]
    given_mean = None if mean is None else per_channel("dataset.mean", mean, channels)
    given_std = None if std is None else per_channel("dataset.std", std, channels)
    if given_std is not None and min(given_std) <= 0:
        raise ValueError(f"dataset.std must be > 0 in every channel, got {list(given_std)}")
    if (mean is None) != (std is None):
        given, other = ("mean", "std") if std is None else ("std", "mean")
        raise ValueError(
            f"dataset.{other} must be given where dataset.{given} is, or both be null, got null"
        )
    if given_mean is not None and given_std is not None:
        return given_mean, given_std

    own_mean, own_std = pixel_statistics(images.subset(index).images)
    if min(own_std) == 0:
        raise ValueError(
            "dataset.mean and dataset.std must be given for images with a channel of one single "
            "value, got null"
        )
    return own_mean, own_std


def _digest(raw: SourceData, source: Source, split: tuple[Tensor | None, ...]) -> str:
    """sha256 over pixels and labels of the source and the split's positions, in hex."""
    digest = hashlib.sha256()
    on_disk = False
    for part in (raw.train, raw.test, raw.val):
        digest.update(b"part")
        if part is None:
            continue
        digest.update(str(tuple(part.images.shape)).encode())
        digest.update(part.labels.numpy().data)
        if isinstance(part.images, Tensor):
            digest.update(part.images.contiguous().numpy().data)
        else:
            on_disk = True
    if on_disk:  # too many pixels to read them for this
        digest.update(source.digest().encode())
    for index in split:
        digest.update(b"split")
        if index is not None:
            digest.update(index.numpy().data)
    return digest.hexdigest()


def _check_at_most(key: str, value: int, most: int, what: str) -> None:
    """A number that takes nothing away would have no effect."""
    if value > most:
        raise ValueError(f"dataset.{key} must be null or at most {most}, {what}, got {value}")


def _check_classes(raw: SourceData, name: str, classes: int | None) -> None:
    found = len(raw.class_names)
    if classes is not None and classes != found:
        raise ValueError(
            f"dataset.classes must be null or {found}, the classes {name} has, got {shown(classes)}"
        )


def _check_test_fraction(raw: SourceData, name: str, fraction: float | None) -> None:
    if raw.test is None:
        why = f", because {name} has no test set of its own"
        check_fraction("dataset.test_fraction", fraction, zero=False, why=why)
    elif fraction is not None:
        raise ValueError(
            f"dataset.test_fraction must be null, because {name} has a test set of its own, "
            f"got {shown(fraction)}"
        )


def _check_every_class(pools: Pools, names: tuple[str, ...], key: str, value: object) -> None:
    missing = [name for pool, name in zip(pools, names, strict=True) if len(pool) == 0]
    if missing:
        raise ValueError(
            f"{key} must leave training images of every class, "
            f"got {shown(value)}, which leaves none of {missing[0]!r}"
        )
