"""What a cohort consists of, by the teacher of its runs."""

import pytest
from commands import Compose

from kdsweep.builders.data import build_dataset
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_unit, build_untrained_teacher, taught, teacher_features
from kdsweep.training.mutual import Peers
from kdsweep.training.online_teacher import OnlineTeacher
from kdsweep.training.student import Student
from kdsweep.training.teacher import Ensemble, Teacher

SMALL = ["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=40"]


def _specs(compose: Compose, *words: str, losses: tuple[str, ...]) -> list[RunSpec]:
    jobs = [[f"loss={loss}"] for loss in losses]
    return build_specs([compose(*SMALL, *words, *job) for job in jobs], jobs, 0, ["loss"])


@pytest.mark.parametrize(
    ("words", "losses", "unit", "teacher"),
    [
        ([], ("ce",), Student, type(None)),
        ([], ("tfkd",), Student, type(None)),  # a term, but none that needs the teacher
        ([], ("ce", "kl"), Student, Teacher),
        (["teacher=ensemble"], ("kl",), Student, Ensemble),
        (["teacher.online=true"], ("kl",), Student, OnlineTeacher),
        (["teacher=peers"], ("kl",), Peers, type(None)),
    ],
)
def test_the_parts_of_a_cohort(
    compose: Compose, words: list[str], losses: tuple[str, ...], unit: type, teacher: type
) -> None:
    specs = _specs(compose, *words, losses=losses)
    dataset = build_dataset(specs[0].config.dataset, "cpu")
    built = build_untrained_teacher(specs, dataset, steps_per_epoch=2)
    assert type(built) is teacher
    networks = built.networks if isinstance(built, Teacher | Ensemble) else ()
    assert all(type(build_unit(spec, dataset, networks, 2)) is unit for spec in specs)


def test_a_cohort_requires_the_features_of_all_its_runs(compose: Compose) -> None:
    specs = _specs(compose, losses=("ce", "kl", "fitnet", "rkd"))
    assert teacher_features(specs[:2]) == [], "logits are none"
    assert teacher_features(specs) == ["pool"]
    assert taught(specs) is specs[1], "the first that needs a teacher"
    assert taught(specs[:1]) is None
