"""What a cohort is evaluated on, each epoch and at its end; every network once on each image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from kdsweep.execution.context import TrainingContext
from kdsweep.execution.run_writer import RunWriter
from kdsweep.tracking.predictions import (
    TEACHER_PREDICTIONS_DIR,
    Predictions,
    save_predictions,
    save_teacher_predictions,
)
from kdsweep.tracking.run_dir import PREDICTIONS
from kdsweep.training.evaluation import Split, confusion, image_scores
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.readings import read
from kdsweep.training.student import Student
from kdsweep.training.trainer import AnyTeacher, student_logits, with_teacher


def measured_every_epoch(splits: Mapping[str, Split], *, test_curve: bool) -> list[Split]:
    """Validation, if there is one; and the test set for its curve, under a name of its own."""
    curve = [replace(splits["test"], name="test_curve")] if test_curve else []
    return [*([splits["val"]] if "val" in splits else []), *curve]


def with_frozen_teacher(
    splits: Mapping[str, Split], teacher: AnyTeacher | None, *, test: bool
) -> dict[str, Split]:
    """The splits with the logits of a teacher that does not change, for all epochs and the end.

    Those of the test set only with ``test``; otherwise they are needed at the end alone.
    """
    if isinstance(teacher, OnlineTeacher):
        return dict(splits)
    return {
        name: with_teacher(split, teacher) if test or name != "test" else split
        for name, split in splits.items()
    }


@dataclass(frozen=True)
class Evaluation:
    """A split with the teacher's logits, if there is one, and those of N students: (images, C)."""

    split: Split
    logits: Sequence[Tensor]

    def metrics(self, students: Sequence[Student]) -> list[dict[str, float]]:
        """The metrics of the students, which are those of the logits, in one transfer."""
        labels, teacher = self.split.labels, self.split.teacher_predicted
        readings = [
            self.split.readings(
                image_scores(logits, labels),
                teacher if student.objective.needs_teacher else None,
            )
            for student, logits in zip(students, self.logits, strict=True)
        ]
        return read(readings)

    def confusion(self, place: int) -> list[list[int]]:
        """The confusion (C, C) of the student at this place: true classes are rows."""
        counts: list[list[int]] = confusion(self.logits[place], self.split.labels).tolist()
        return counts


def evaluate_trained(
    students: Sequence[Student], split: Split, teacher: AnyTeacher | None
) -> Evaluation:
    """Students with their final weights, and their teacher.

    An online teacher with a record is one of the students, and is not evaluated again.
    """
    logits = student_logits(students, split)
    if isinstance(teacher, OnlineTeacher) and teacher.student in students:
        own = logits[students.index(teacher.student)]
        return Evaluation(replace(split, teacher_logits=own), logits)
    return Evaluation(with_teacher(split, teacher), logits)


def save_run_predictions(
    writer: RunWriter, place: int, evaluated: Sequence[Evaluation], context: TrainingContext
) -> None:
    """Write a run's logits of every image, and its teacher's, which are kept once per sweep."""
    classes = tuple(writer.dataset.class_names)
    splits = [one.split for one in evaluated]
    labels = {split.name: split.labels.cpu() for split in splits}
    targets = {s.name: s.teacher_logits.cpu() for s in splits if s.teacher_logits is not None}
    teacher = None
    if targets and writer.student.objective.needs_teacher:
        folder = context.sweep.folder if context.sweep else writer.folder
        teacher = save_teacher_predictions(
            folder / TEACHER_PREDICTIONS_DIR, Predictions(targets, labels, classes)
        )
    own = {one.split.name: one.logits[place].cpu() for one in evaluated}
    save_predictions(writer.folder / PREDICTIONS, Predictions(own, labels, classes, teacher))
