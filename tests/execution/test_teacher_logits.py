"""What identifies the logits of a teacher: every change that alters a bit is another entry."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command, Compose, Specs
from outcomes import digests
from PIL import Image

from kdsweep.builders.data import build_dataset
from kdsweep.config.schema import CacheConfig
from kdsweep.data.images import content, kept
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

BASE = [
    "dataset=fake",
    "dataset.source.shape=[1,8,8]",
    "dataset.source.num_train=160",
]
OF_A_STREAM = [
    "dataset.augment.flip=true",
    "dataset.augment.crop_padding=1",
    "dataset.augment.padding_mode=reflect",
    "dataset.augment.mixup=0.2",
    "dataset.augment.cutmix=1",
    "dataset.augment.strong_view=1",
    "dataset.augment.random_resized_crop=true",
    "dataset.augment.auto_augment=randaugment",
    "dataset.augment.color_jitter=0.4",
    "dataset.augment.random_erasing=0.1",
    "dataset.interpolation=bicubic",
    "teacher.view=centre",
    "seed=1",
    "trainer.batch_size=32",
]
OF_A_SPLIT = [
    "dataset.source.noise=0.3",
    "dataset.mean=[0.4] dataset.std=[0.2]",
    "dataset.split_seed=1",
    "dataset.limit=100",
    "trainer.batch_size=512 dataset.source.num_train=700",
    "trainer.threads=2",
    "teacher.seed=1",
    "teacher.model.width=5",
    "teacher.precision=bf16",
    "teacher.memory_format=contiguous",
    "teacher.logits=fp16",
    "teacher.fold_batchnorm=true",
    "teacher.image_size=10",
    "dataset.image_size=7",
]
SAME = ["T=7", "alpha=0.9", "loss=mse", "student=cnn", "optimizer.lr=0.3", "trainer.epochs=3"]


@pytest.fixture(scope="module")
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


def identity(specs: Specs, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What identifies the logits of a teacher on splits, and what is added to it for epochs."""
    given = list(words) if any(word.startswith("dataset=") for word in words) else [*BASE, *words]
    (spec,) = specs(given)
    dataset = build_dataset(spec.config.dataset, "cpu")
    untrained = build_untrained_teacher([spec], dataset, 10)
    assert isinstance(untrained, Teacher | Ensemble)
    how = [teacher_logits.arithmetic_of(one) for one in spec.teachers]
    of_splits = teacher_logits._identity(untrained, how, spec.config, dataset)
    return of_splits, teacher_logits._stream_identity(spec.config)


@pytest.fixture(scope="module")
def base(specs: Specs) -> tuple[dict[str, Any], dict[str, Any]]:
    return identity(specs)


@pytest.mark.ci
def test_every_change_that_alters_a_bit_is_another_entry(specs: Specs, base: Any) -> None:
    for word in OF_A_STREAM:
        assert identity(specs, *word.split())[1] != base[1], word
    for word in OF_A_SPLIT:
        assert identity(specs, *word.split())[0] != base[0], word
    assert identity(specs, *SAME) == base


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (["dataset.augment.random_resized_crop=true"], "dataset.augment.scale=[0.2,1]"),
        (["dataset.augment.random_resized_crop=true"], "dataset.augment.ratio=[1,1]"),
        (["dataset.augment.auto_augment=randaugment"], "dataset.augment.num_ops=1"),
        (["dataset.augment.auto_augment=randaugment"], "dataset.augment.magnitude=10"),
        (["dataset.image_size=7"], "dataset.crop_pct=0.8"),
        (["dataset.image_size=7"], "dataset.interpolation=bicubic"),
    ],
)
def test_options_of_a_view_are_another_entry(specs: Specs, words: list[str], change: str) -> None:
    of_splits, of_stream = identity(specs, *words, change)
    assert (of_splits, of_stream) != identity(specs, *words)


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (torch.backends.cpu, "get_cpu_capability", lambda: "another"),
        (teacher_logits, "cpu_model", lambda: "another"),
        (teacher_logits, "NUMERICS", -1),
        (teacher_logits, "source_digest", lambda model: "of an edited file"),
        (teacher_logits.np, "__version__", "0"),
        (torch, "__version__", "0"),
        (kept, "pillow", "0"),
    ],
)
def test_another_machine_or_version_is_another_entry(
    specs: Specs, base: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, value: Any
) -> None:
    monkeypatch.setattr(owner, name, value)
    assert identity(specs) != base


def test_a_variable_that_chooses_kernels_is_another_entry(
    specs: Specs, base: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    assert identity(specs) != base


@pytest.mark.ci
def test_images_on_disk_that_are_read_otherwise_are_another_entry(
    specs: Specs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, folder in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / "1" / folder).mkdir(parents=True)
        for image in range(10):
            pixels = np.full((4, 6, 3), 20 * number + image, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "1" / folder / f"{image}.png")
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    given = ["image_size=8", "memory_gib=1e-9", "workers=0"]
    words = ["dataset=image_folder", *(f"dataset.source.{word}" for word in given)]
    words += ["dataset.mean=[0.5,0.5,0.5]", "dataset.std=[0.2,0.2,0.2]", "trainer.batch_size=8"]
    first, moved = (identity(specs, *words, f"dataset.root={tmp_path}/{n}") for n in "12")
    assert first == moved
    words.append(f"dataset.root={tmp_path}/1")
    cropped = identity(specs, *words, "dataset.source.crop=true")
    assert cropped[0] != first[0]
    monkeypatch.setattr(content, "DIGEST_GIB", 0)  # as of images that are too many to be hashed
    before = identity(specs, *words)
    os.utime(tmp_path / "1/train/a/0.png", (1, 1))
    assert identity(specs, *words)[0] != before[0]


@pytest.mark.slow
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


@pytest.mark.ci
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


@pytest.mark.ci
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


@pytest.mark.ci
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
