"""What of its networks a cohort trains: all, or a teacher's head alone, on features."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from kdsweep.builders.data import evaluation_batch, training_split
from kdsweep.common.pacing import with_lines
from kdsweep.common.types import Batch
from kdsweep.config.run_config import HEAD, RunConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.pipeline.stream import Stream
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.teacher_logits import arithmetic_in_training, cached_teacher
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.training.evaluation import Split
from kdsweep.training.linear_probe import (
    Backbone,
    FeatureStream,
    head_alone,
    split_of_features,
    trained_head,
)
from kdsweep.training.student import Student
from kdsweep.training.teacher import Teacher
from kdsweep.training.trainer import CohortUnit, torch_state, with_teacher

View = Callable[[Sequence[Split]], list[Split]]


@contextmanager
def trained_part(
    units: Sequence[CohortUnit],
    stream: Stream,
    config: RunConfig,
    dataset: Dataset,
    context: TrainingContext,
) -> Iterator[tuple[Stream, View]]:
    """Yield the stream that the units are trained on, and what changes splits likewise.

    Those of images, unless the run trains a head alone: its student is the head within, and its
    images are their features, which are computed once and kept in the cache.
    """
    if config.trainer.train != HEAD:
        yield stream, list
        return
    ((student,),) = (unit.students for unit in units)  # a teacher is trained by itself
    compute = _features(student, config, dataset, context)
    features = compute(training_split(config, dataset, str(stream.device)))
    batch = evaluation_batch(config)

    def view(splits: Sequence[Split]) -> list[Split]:
        return [split_of_features(split, compute(split), batch) for split in splits]

    with head_alone(student):
        yield FeatureStream(stream, features), view


def _features(
    student: Student, config: RunConfig, dataset: Dataset, context: TrainingContext
) -> Callable[[Split], Tensor]:
    """What gives the features (N, D) of a split, from the cache if they are there."""
    head = trained_head(student.model)
    trained = list(student.model.get_submodule(head).parameters())
    backbone = Backbone(student.model, head)
    precision = student.precision
    frozen = Teacher(FeatureExtractor(backbone), precision=precision, device=str(student.device))
    for parameter in trained:
        parameter.requires_grad_(True)
    name = config.student.name
    cached = cached_teacher(
        frozen,
        [{**arithmetic_in_training(config), "features": head}],
        config,
        dataset,
        context.cache,
        f"features of {name}",
        backbone.width,
    )

    def compute(split: Split) -> Tensor:
        def batches() -> Iterator[Batch]:
            return with_lines(split.batches(), f"features of {name} on {split.name}, batches")

        with torch_state(config.trainer.threads, student.device):
            backbone.eval()
            features = with_teacher(replace(split, batches=batches), cached).teacher_logits
        assert features is not None
        return features

    return compute
