"""Data sets, the training stream and the splits to evaluate on."""

from collections.abc import Callable, Iterator

import torch

from kdsweep.builders.augmentations import (
    build_augmentation,
    build_own_augmentations,
    build_views,
)
from kdsweep.builders.instantiate import instantiate_node, naming_key, refusal_of, with_key
from kdsweep.common.disk_cache import DiskCache
from kdsweep.common.teacher_views import SAME
from kdsweep.common.types import Batch
from kdsweep.common.validation import as_typed, shown
from kdsweep.config.allow import is_own
from kdsweep.config.run_config import RunConfig
from kdsweep.config.schema import DatasetConfig
from kdsweep.data.pipeline.split import Dataset, SplitOptions, load_dataset
from kdsweep.data.pipeline.stream import Stream, all_rows, evaluation_batches
from kdsweep.data.types import LabelledImages, Source, UsesCache
from kdsweep.errors import CollectedErrors, UserError
from kdsweep.training.evaluation import Split
from kdsweep.training.memory import is_out_of_memory

EVALUATION_BATCH = 256  # at least this many images per forward pass in evaluation
TRAINING_SAMPLE = 1000  # images to measure a teacher on where nothing is held out


def build_source(dataset: DatasetConfig, cache: DiskCache | None = None) -> Source:
    """The data source of a data set, without reading its images.

    ``cache`` keeps what sources of files decode and hash.
    """
    source: Source = instantiate_node(dataset.source, "dataset.source")
    if not all(hasattr(source, name) for name in ("name", "load", "digest")):
        raise UserError(
            "dataset.source._target_ must be a data source, with a name, load and digest, got"
            f" {as_typed(dataset.source.get('_target_'))}"
        )
    if isinstance(source, UsesCache):
        source.cache = cache
    return source


def refuse_options(dataset: DatasetConfig) -> None:
    """Raise UserError for the options of a data set that are wrong whatever its images are."""
    errors = CollectedErrors()
    with errors.of():
        build_source(dataset)
    with errors.of(), naming_key("dataset"):
        SplitOptions.from_config(dataset)
    with errors.of():
        build_augmentation(dataset.augment)
    with errors.of():
        build_views(dataset)
    with errors.of():
        build_own_augmentations(dataset.augment)
    errors.raise_if_any()


def build_dataset(dataset: DatasetConfig, device: str, source: Source | None = None) -> Dataset:
    """Load, split and measure a data set, resident on the device.

    Args:
        source: its data source, if the caller has it already.

    Raises UserError if the data is missing or damaged or cannot be split as requested.
    """
    try:
        return load_dataset(
            source or build_source(dataset), SplitOptions.from_config(dataset), device=device
        )
    except (ValueError, OSError) as error:
        raise UserError(with_key("dataset", error)) from error
    except Exception as error:
        if is_out_of_memory(error):
            node = shown(dataset.source)
            raise UserError(f"dataset.source must fit into memory, got {node}") from error
        if is_own(dataset.source) and not isinstance(error, UserError):
            raise UserError(refusal_of(dataset.source, "dataset.source", error)) from error
        raise


def build_stream(
    config: RunConfig,
    dataset: Dataset,
    device: str,
    rows: Callable[[int], slice] = all_rows,
    *,
    teacher_view: str = SAME,
) -> Stream:
    """The cohort's stream of training batches, with the pixels of some rows of each."""
    augment, mix, strong = build_augmentation(config.dataset.augment)
    with naming_key("trainer.batch_size"):
        return Stream(
            dataset.train,
            batch_size=config.trainer.batch_size,
            seed=config.seed,
            augment=augment,
            mix=mix,
            strong=strong,
            views=build_views(config.dataset, dataset.view, dataset.image_shape[1:]),
            teacher_view=teacher_view,
            own=build_own_augmentations(config.dataset.augment),
            mean=dataset.mean,
            std=dataset.std,
            device=device,
            rows=rows,
        )


def build_splits(config: RunConfig, dataset: Dataset, device: str) -> dict[str, Split]:
    """`val` (if there is one) and `test`, as they are evaluated."""
    parts = {"val": dataset.val, "test": dataset.test}
    return {
        name: _split(name, part, config, dataset, device)
        for name, part in parts.items()
        if part is not None
    }


def evaluation_batch(config: RunConfig) -> int:
    """Images per forward pass in evaluation."""
    return max(config.trainer.batch_size, EVALUATION_BATCH)


def _split(
    name: str, part: LabelledImages, config: RunConfig, dataset: Dataset, device: str
) -> Split:
    size = evaluation_batch(config)

    def batches() -> Iterator[Batch]:
        return evaluation_batches(
            part,
            batch_size=size,
            mean=dataset.mean,
            std=dataset.std,
            view=dataset.view,
            device=device,
        )

    return Split(name, batches, part.labels.to(device))


def training_split(config: RunConfig, dataset: Dataset, device: str) -> Split:
    """The training images in their order, without augmentation."""
    return _split("train", dataset.train, config, dataset, device)


def teacher_split(config: RunConfig, dataset: Dataset, device: str) -> Split:
    """What a teacher is evaluated on before use: `val`, or a sample of the training split."""
    if dataset.val is not None:
        return _split("val", dataset.val, config, dataset, device)
    count = len(dataset.train.labels)
    # At even distances: images may be in the order of their classes.
    index = torch.linspace(0, count - 1, min(count, TRAINING_SAMPLE)).long()
    sample = dataset.train.subset(index.to(dataset.train.labels.device))
    name = f"no validation split, {len(index):,} training images"
    return _split(name, sample, config, dataset, device)
