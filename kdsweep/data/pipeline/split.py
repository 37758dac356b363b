"""The data set of a run: a source split into training, validation and test set, with statistics.

Shapes: N training images of (channels, H, W), C classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from kdsweep.common import validation
from kdsweep.common.notices import warn_once
from kdsweep.common.rng import derive
from kdsweep.common.text import escape_unprintable
from kdsweep.common.validation import (
    check_count,
    check_share,
    check_whole,
    parse_image_size,
    require,
    shown,
)
from kdsweep.data.pipeline.central_view import CentralView
from kdsweep.data.pipeline.pixel_stats import pixel_statistics
from kdsweep.data.pipeline.source_checks import check_source_data
from kdsweep.data.pipeline.stratify import Pools, cut, cut_fraction, positions, shuffled_pools, size
from kdsweep.data.types import AS_THEY_ARE, Decoding, LabelledImages, Source, SourceData


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint parts of one source, with the facts that normalisation and models need.

    The index tensors hold each image's position in the part of the source that it was cut from:
    the source's test (val) set if it has one, else its training set.
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
    decoding: Decoding = AS_THEY_ARE
    view: CentralView | None = None  # of images in evaluation; None: as they are decoded

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, H, W) of the images that networks are given."""
        _, channels, height, width = self.train.images.shape
        return (channels, height, width) if self.view is None else (channels, *self.view.size)

    def to(self, device: torch.device | str) -> "Dataset":
        """A copy whose images and labels are on another device; the index tensors stay."""
        return replace(
            self,
            train=self.train.to(device),
            val=None if self.val is None else self.val.to(device),
            test=self.test.to(device),
        )

    def close(self) -> None:
        """End the processes that read images from disk; they are started anew when they must."""
        for part in (self.train, self.val, self.test):
            if part is not None and not isinstance(part.images, Tensor):
                part.images.close()


@dataclass(frozen=True)
class SplitOptions:
    """Options of the split, as in a dataset config node. A ValueError names a key out of range."""

    name: str  # of the data set
    val_fraction: float
    test_fraction: float | None = None  # None: the source has a test set
    split_seed: int = 0
    train_fraction: float = 1.0
    limit: int | None = None
    per_class: int | None = None
    mean: Sequence[float] | None = None  # one per channel, in units of [0, 1] pixels
    std: Sequence[float] | None = None
    classes: int | None = None  # the number of classes, to be checked
    image_size: int | Sequence[int] | None = None  # None: that of the images as they are decoded
    crop_pct: float = 0.875
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_share("dataset.val_fraction", self.val_fraction)
        check_whole("dataset.split_seed", self.split_seed, least=0)
        check_share("dataset.train_fraction", self.train_fraction, zero=False, one=True)
        check_count("dataset.per_class", self.per_class)
        check_count("dataset.limit", self.limit)
        CentralView((1, 1), self.crop_pct, self.interpolation)
        self.view  # noqa: B018

    @classmethod
    def from_config(cls, config: object) -> "SplitOptions":
        """The options among the attributes of a dataset's config."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})

    @property
    def view(self) -> CentralView | None:
        """The view of images in evaluation; None: they are evaluated as they are decoded."""
        if self.image_size is None:
            return None
        size = parse_image_size("dataset.image_size", self.image_size)
        return CentralView(size, self.crop_pct, self.interpolation)


def load_dataset(
    source: Source, options: SplitOptions, *, device: torch.device | str = "cpu"
) -> Dataset:
    """Load a source and split it, stratified, by ``split_seed`` alone.

    First the test set is cut off (``test_fraction`` of everything, if the source has none), then
    the validation set (``val_fraction`` of the rest, if the source has none), then the training
    split is reduced to ``train_fraction`` of itself, to at most ``per_class`` images of each class,
    and to at most ``limit`` images. So no reduction changes the images that runs are evaluated on.

    ``mean`` and ``std`` are those of the training split *before* it is reduced, so that a teacher
    and its students are given the same pixels; or the given ones.

    Raises ValueError, naming the key, if an option does not fit the data, or leaves a part empty or
    the training split without some class.
    """
    data = source.load()
    check_source_data(data)
    _check_classes_and_test(data, options)
    names = readable_names(data.class_names)
    everything = shuffled_pools(data.train.labels, len(names), derive("split", options.split_seed))
    _check_every_class(everything, names, "dataset.source", options.name)
    fraction = options.test_fraction or 0
    test, test_index, rest = _part(data, data.test, everything, "test_fraction", fraction)
    val, val_index, whole = _part(data, data.val, rest, "val_fraction", options.val_fraction)
    assert test is not None
    assert test_index is not None
    mean, std = _statistics(data.train, positions(whole), options)
    train_index = positions(_reduce(whole, names, options))
    return Dataset(
        name=options.name,
        train=data.train.subset(train_index),
        val=val,
        test=test,
        class_names=names,
        mean=mean,
        std=std,
        digest=_digest(data, source, (train_index, val_index, test_index)),
        train_index=train_index,
        val_index=val_index,
        test_index=test_index,
        decoding=data.decoding,
        view=options.view,
    ).to(device)


def readable_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes as they are used: without letters that cannot be printed."""
    return tuple(map(escape_unprintable, class_names))


def _part(
    data: SourceData, given: LabelledImages | None, pools: Pools, key: str, fraction: float
) -> tuple[LabelledImages | None, Tensor | None, Pools]:
    """The source's own part, else a fraction of the pools; its index; the remaining pools."""
    if given is not None:
        return given, torch.arange(len(given.labels)), pools
    if fraction == 0:
        return None, None, pools
    front, rest = cut_fraction(pools, fraction)
    if size(front) == 0:
        raise ValueError(
            f"dataset.{key} must give at least one image of the {size(pools)} there are, "
            f"got {shown(fraction)}"
        )
    _check_every_class(rest, data.class_names, f"dataset.{key}", fraction)
    index = positions(front)
    return data.train.subset(index), index, rest


def _reduce(pools: Pools, names: tuple[str, ...], options: SplitOptions) -> Pools:
    """The pools of the reduced training split."""
    if options.train_fraction < 1:
        pools, _ = cut_fraction(pools, options.train_fraction)
        _check_every_class(pools, names, "dataset.train_fraction", options.train_fraction)
    if (per_class := options.per_class) is not None:
        largest = max(map(len, pools))
        allowed = f"null or at most {largest}, the training images of the largest class"
        require(per_class <= largest, "dataset.per_class", allowed, per_class)
        pools = [pool[:per_class] for pool in pools]
    if (limit := options.limit) is not None:
        if limit > (count := size(pools)):  # scale=tiny has a limit whatever the data
            warn_once(f"dataset.limit={limit} keeps all of the {count} training images left")
            return pools
        pools, _ = cut(pools, limit)
        _check_every_class(pools, names, "dataset.limit", limit)
    return pools


def _statistics(
    train: LabelledImages, index: Tensor, options: SplitOptions
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The given mean and std, checked; else those of the images at ``index``."""
    channels = train.images.shape[1]
    given = {
        key: validation.per_channel(f"dataset.{key}", values, channels)
        for key, values in (("mean", options.mean), ("std", options.std))
        if values is not None
    }
    if "std" in given and min(given["std"]) <= 0:
        raise ValueError(f"dataset.std must be > 0 in every channel, got {list(given['std'])}")
    if len(given) == 2:
        return given["mean"], given["std"]
    if given:
        (one,) = given
        other = "std" if one == "mean" else "mean"
        raise ValueError(
            f"dataset.{other} must be given where dataset.{one} is, or both be null, got null"
        )
    mean, std = pixel_statistics(train.subset(index).images)
    if min(std) == 0:
        raise ValueError(
            "dataset.mean and dataset.std must be given for images with a channel of one single "
            "value, got null"
        )
    return mean, std


def _digest(data: SourceData, source: Source, split: tuple[Tensor | None, ...]) -> str:
    """sha256 over pixels and labels of the source and the split's positions, in hex."""
    digest = hashlib.sha256()
    on_disk = False
    for part in (data.train, data.test, data.val):
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


def _check_classes_and_test(data: SourceData, options: SplitOptions) -> None:
    name, num_classes, fraction = options.name, len(data.class_names), options.test_fraction
    is_right = options.classes in (None, num_classes)
    allowed = f"null or {num_classes}, the classes {name} has"
    require(is_right, "dataset.classes", allowed, options.classes)
    if data.test is None:
        why = f", because {name} has no test set of its own"
        if data.unread_test_set is not None:
            why = f", because {data.unread_test_set} is not read as a test set (docs/datasets.md)"
        check_share("dataset.test_fraction", fraction, zero=False, why=why)
    else:
        allowed = f"null, because {name} has a test set of its own"
        require(fraction is None, "dataset.test_fraction", allowed, fraction)


def _check_every_class(pools: Pools, names: tuple[str, ...], key: str, value: object) -> None:
    empty = [name for pool, name in zip(pools, names, strict=True) if len(pool) == 0]
    if empty:
        raise ValueError(
            f"{key} must leave training images of every class, "
            f"got {shown(value)}, which leaves none of {empty[0]!r}"
        )
