"""What identifies the logits of a teacher: every change that alters a bit is another entry."""

from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, Compose, Specs
from outcomes import digests

from kdsweep.builders.data import build_dataset
from kdsweep.config.schema import CacheConfig
from kdsweep.execution import teacher_logits
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.provenance import teacher_arithmetic
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_untrained_teacher
from kdsweep.tracking.console import Progress
from kdsweep.training import teacher
from kdsweep.training.checkpoint import sha256
from kdsweep.training.logit_cache import CachedTeacher
from kdsweep.training.teacher import Ensemble, Teacher

BASE = ["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=160"]
CHANGES = [
    "dataset.augment.flip=true",
    "dataset.augment.crop_padding=1",
    "dataset.augment.mixup=0.2",
    "dataset.augment.cutmix=1",
    "dataset.augment.strong_view=1",
    "dataset.source.noise=0.3",
    "dataset.mean=[0.4] dataset.std=[0.2]",
    "dataset.split_seed=1",
    "dataset.limit=100",
    "seed=1",
    "trainer.batch_size=32",
    "trainer.threads=2",
    "teacher.seed=1",
    "teacher.model.width=5",
    "teacher.precision=bf16",
    "teacher.memory_format=contiguous",
    "teacher.logits=fp16",
    "teacher.fold_batchnorm=true",
]
SAME = ["T=7", "alpha=0.9", "loss=mse", "student=cnn", "optimizer.lr=0.3", "trainer.epochs=3"]


@pytest.fixture
def specs(compose: Compose) -> Specs:
    def built(*jobs: list[str]) -> list[RunSpec]:
        return build_specs([compose(*job) for job in jobs], jobs, 0, [])

    return built


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The step of every batch that a frozen teacher computes targets of."""
    steps: list[int] = []
    targets = Teacher.targets

    def counted(self: Teacher, batch: Any, step: int) -> Any:
        steps.append(step)
        return targets(self, batch, step)

    monkeypatch.setattr(Teacher, "targets", counted)
    return steps


def identity(specs: Specs, *words: str) -> tuple[RunSpec, dict[str, Any]]:
    (spec,) = specs([*BASE, *words])
    dataset = build_dataset(spec.config.dataset, "cpu")
    untrained = build_untrained_teacher([spec], dataset, 10)
    assert isinstance(untrained, Teacher | Ensemble)
    return spec, teacher_logits._identity(untrained, spec, dataset)


def test_every_change_that_alters_a_bit_is_another_entry(
    specs: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base = identity(specs)
    for word in CHANGES:
        assert identity(specs, *word.split())[1] != base, word
    for word in SAME:
        assert identity(specs, word)[1] == base, word
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert identity(specs)[1] != base
    monkeypatch.undo()
    monkeypatch.setattr(teacher_logits, "NUMERICS", -1)
    assert identity(specs)[1] != base


def test_the_type_of_logits_is_part_of_the_run_and_of_every_member(specs: Specs) -> None:
    ensemble = ["teacher=ensemble", *BASE]
    plain, all_half, one_half = specs(
        ensemble,
        [*ensemble, "teacher.logits=fp16"],
        [*ensemble, "teacher.members.second.logits=fp16"],
    )
    assert len({plain.fingerprint, all_half.fingerprint, one_half.fingerprint}) == 3
    assert [one.config.logits for one in all_half.teachers] == ["fp16", "fp16"]
    assert [one.config.logits for one in one_half.teachers] == ["fp32", "fp16"]


def test_folding_is_part_of_the_run_and_of_every_member(specs: Specs) -> None:
    ensemble = ["teacher=ensemble", *BASE]
    plain, unfolded, both, one = specs(
        ensemble,
        [*ensemble, "teacher.fold_batchnorm=false"],
        [*ensemble, "teacher.fold_batchnorm=true"],
        [*ensemble, "teacher.members.second.fold_batchnorm=true"],
    )
    assert plain.fingerprint == unfolded.fingerprint
    assert len({plain.fingerprint, both.fingerprint, one.fingerprint}) == 3
    assert [each.config.fold_batchnorm for each in both.teachers] == [True, True]
    assert [each.config.fold_batchnorm for each in one.teachers] == [False, True]
    assert [t.run and t.run.fingerprint for t in both.teachers] == [
        t.run and t.run.fingerprint for t in plain.teachers
    ], "they are trained unfolded"
    recorded = teacher_arithmetic(one)
    assert recorded["teacher.members.second.fold_batchnorm"] == "True"


def test_the_second_cohort_and_the_second_sweep_do_not_run_the_teacher(
    command: Command, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Any] = []
    monkeypatch.setattr(teacher, "sha256", lambda model: hashed.append(model) or sha256(model))
    words = ["T=1,4", "trainer.epochs=1"]
    plain = digests(command(*words, "cache.gib=0"))
    once = len(calls)
    assert not Path("cache").exists()
    split = command(*words, "hydra.launcher.cohort_size=1")
    assert digests(split) == plain
    assert len(calls) == 2 * once  # of its first cohort alone
    assert len(hashed) == 1  # for both cohorts
    assert digests(command(*words)) == plain
    assert len(calls) == 2 * once


def test_a_teacher_whose_features_are_read_is_not_kept(specs: Specs, tmp_path: Path) -> None:
    logits, features = specs([*BASE, "loss=kl"], [*BASE, "loss=fitnet"])
    dataset = build_dataset(logits.config.dataset, "cpu")
    with Progress() as progress:
        context = TrainingContext({"uri": None}, progress, CacheConfig(str(tmp_path), 1.0))
        for cohort, is_kept in (([logits], True), ([features], False), ([logits, features], False)):
            untrained = build_untrained_teacher(cohort, dataset, 10)
            assert isinstance(untrained, Teacher)
            found = teacher_logits.with_logit_cache(untrained, cohort, dataset, context)
            assert isinstance(found, CachedTeacher) == is_kept


@pytest.mark.slow
def test_the_second_block_of_a_search_does_not_run_the_teacher(
    command: Command, calls: list[int]
) -> None:
    assert command("T=1", "trainer.epochs=1", "cache.gib=0").code == 0
    once, words = len(calls), ["search=bayes", "search.name=mine", "search.seeds=[0]"]
    words += ["search.finalists=0", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    found = command(*words, "trainer.epochs=1", "loss=kl", "T=interval(1,4)")
    assert found.code == 0, found.err
    assert len(list(found.folder.glob("multirun/mine/*/seed-0/result.json"))) == 4
    assert len(calls) == 2 * once  # of its first block alone
