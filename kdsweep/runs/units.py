"""What a cohort consists of: a unit for every run, and the networks of a teacher for its shapes."""

from collections.abc import Sequence

from kdsweep.builders.device import resolve_device
from kdsweep.builders.models import build_network, build_teacher_network, extract_features
from kdsweep.builders.students import build_student
from kdsweep.common.teacher_views import SAME
from kdsweep.config.recipes import PRIMARY_STUDENT
from kdsweep.data.pipeline.split import Dataset
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.runs.spec import RunSpec
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.folding import Folding
from kdsweep.training.mutual import Peers
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher
from kdsweep.training.trainer import AnyTeacher


def build_unit(
    spec: RunSpec, dataset: Dataset, teachers: Sequence[FeatureExtractor], steps_per_epoch: int
) -> Student | Peers:
    """What a run trains: its student, or its student together with its peers."""
    if not spec.peers:
        return build_student(spec.config, dataset, teachers, steps_per_epoch)
    members = {PRIMARY_STUDENT: spec, **spec.peers}
    keys = {PRIMARY_STUDENT: "student"} | {name: f"teacher.peers.{name}" for name in spec.peers}

    def peer(name: str) -> Student:
        others = {other: one for other, one in members.items() if other != name}
        shapes = [
            extract_features(
                build_network(
                    dataset,
                    one.config.student.model,
                    keys[other],
                    one.config.student.image_size,
                ),
                members[name].requirements.teacher_features,
                keys[other],
                dataset,
                members[name].config.loss,
            )
            for other, one in others.items()
        ]
        features = [f for one in others.values() for f in one.requirements.teacher_features]
        config = members[name].config
        return build_student(
            config, dataset, shapes, steps_per_epoch, features=features, key=keys[name]
        )

    return Peers({name: peer(name) for name in members})


def teacher_features(specs: Sequence[RunSpec]) -> list[str]:
    """The features that the runs of a cohort require of their teacher."""
    return sorted({name for spec in specs for name in spec.requirements.teacher_features})


def taught(specs: Sequence[RunSpec]) -> RunSpec | None:
    """A run of a cohort that requires a teacher; all that do require the same one."""
    return next((spec for spec in specs if spec.requirements.needs_teacher), None)


def view_of_teacher(specs: Sequence[RunSpec]) -> str:
    """What the teacher of a cohort sees of a batch, if there is one."""
    spec = taught(specs)
    return SAME if spec is None else spec.config.teacher.view


def build_online_teacher(
    run: RunSpec, specs: Sequence[RunSpec], dataset: Dataset, steps_per_epoch: int
) -> OnlineTeacher:
    """The untrained teacher of a cohort that ``run`` trains together with it."""
    features = teacher_features(specs)
    return OnlineTeacher(build_student(run.config, dataset, (), steps_per_epoch, features=features))


def freeze(
    network: FeatureExtractor,
    precision: str | None,
    memory_format: str,
    device: str,
    logits: str = "fp32",
    fold_batchnorm: bool = False,
) -> Teacher:
    """A teacher from its network with all weights, computed as a spec has resolved it."""
    assert precision is not None, "specs have what null stands for"
    network.model.to(device)
    folding = Folding(network.model) if fold_batchnorm else None
    put_in_format(network.model, memory_format)
    return Teacher(
        network, precision=precision, logits_dtype=logits, folding=folding, device=device
    )


def build_untrained_teacher(
    specs: Sequence[RunSpec], dataset: Dataset, steps_per_epoch: int
) -> AnyTeacher | None:
    """The teacher of a cohort with its initial weights, which costs as much as a trained one."""
    spec = taught(specs)
    if spec is None:
        return None
    if spec.online_teacher is not None:
        return build_online_teacher(spec.online_teacher, specs, dataset, steps_per_epoch)
    device, features = resolve_device(spec.config.trainer.device), teacher_features(specs)
    teachers = []
    for one in spec.teachers:
        how = one.config
        network = build_teacher_network(
            one.model, how.seed, dataset, features, one.key, image_size=how.image_size
        )
        computed = how.precision, how.memory_format, device, how.logits, how.fold_batchnorm
        teachers.append(freeze(network, *computed))
    if not teachers:  # peers
        return None
    return Ensemble(teachers) if spec.config.teacher.members else teachers[0]
