"""Fingerprints and cells."""

from functools import cache

import pytest
from commands import Compose
from specs import build_spec

from kdsweep.config.resolve import resolve_config
from kdsweep.runs import build_specs


@pytest.fixture(scope="module")
def mark(compose: Compose):
    """`mark("T=1")`: the fingerprint of the run that these words describe."""

    @cache
    def of(*words: str, digest: str = "data") -> str:
        paths = {"weights.safetensors": "abc", "./weights.safetensors": "abc", "other": "def"}
        digests = {"dataset": digest, **paths}
        return build_spec(resolve_config(compose(*words)), digests).fingerprint

    return of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["T=4"], ["T=4.0"]),
        (["alpha=0.1"], ["alpha=0.10000000000000001"]),
        (["optimizer.lr=0.005"], ["optimizer.lr=5e-3"]),
        (["loss=kl"], ["loss=[kl]"]),
        (["loss=[kl,fitnet]"], ["loss=[fitnet,kl]"]),
        (["T=4"], ["loss.kl.T=4"]),
        (["loss=ce", "T=1"], ["loss=ce", "T=16"]),
        (["loss=ce", "alpha=0.1"], ["loss=ce", "alpha=0.9"]),
        (["loss=ce"], ["loss=ce", "teacher=none"]),
        (["student.features.hint=hidden1"], ["teacher.features.hint=stage1"]),
        (
            ["loss=fitnet", "student.features.hint=hidden1"],
            ["loss=fitnet", "loss.fitnet.pairs=[[hidden1,pool]]"],
        ),
        (["trainer.device=auto"], ["trainer.device=cpu"]),
        # Options of what is off, and those that are at their defaults
        ([], ["dataset.augment.magnitude=30", "dataset.augment.num_ops=1"]),
        ([], ["dataset.augment.scale=[0.5,1]", "dataset.augment.ratio=[1,1]"]),
        ([], ["dataset.crop_pct=1", "dataset.augment.random_erasing=0"]),
        ([], ["teacher.view=same", "student.image_size=null", "dataset.image_size=null"]),
        (
            ["dataset.augment.auto_augment=trivialaugment"],
            ["dataset.augment.auto_augment=trivialaugment", "dataset.augment.magnitude=3"],
        ),
        (["loss=ce"], ["loss=ce", "teacher.view=centre", "teacher.image_size=7"]),
        (
            ["teacher=born_again", "student.image_size=7"],
            [
                *("teacher=born_again", "student.image_size=7", "teacher.image_size=7"),
            ],
        ),
        ([], ["trainer.devices=1", "trainer.sync_batchnorm=true"]),
        ([], ["teacher.trainer.devices=1", "teacher.trainer.sync_batchnorm=true"]),
        ([], ["tracking=none"]),
        ([], ["tracking.experiment=other"]),
        ([], ["cache.gib=0", "cache.folder=elsewhere"]),
        ([], ["resume=true", "debug=true"]),
        ([], ["teacher.store=elsewhere"]),
        ([], ["dataset.root=elsewhere"]),
        (
            ["dataset=image_folder", "dataset.source.csv=a.csv", "dataset.source.nested=true"],
            ["dataset=image_folder", "~dataset.source.csv", "~dataset.source.nested"],  # as before
        ),
        (["dataset=image_folder"], ["dataset=image_folder", "~dataset.source.draft"]),  # likewise
        (["dataset=imagenet"], ["dataset=imagenet", "dataset.source.workers=0"]),
        (
            ["dataset=image_folder"],
            ["dataset=image_folder", "~dataset.source.interpolation"],  # as before
        ),
        (
            ["dataset=huggingface", "dataset.source.path=owner/name"],
            ["dataset=huggingface", "dataset.source.path=a/copy/of/it"],
        ),
    ],
)
def test_the_same_run_written_otherwise(mark, one: list[str], other: list[str]) -> None:
    assert mark(*one) == mark(*other)


@pytest.mark.parametrize(
    "words",
    [
        ["T=1"],
        ["alpha=0.1"],
        ["seed=1"],
        ["hard_weight=0.3"],
        ["hard.label_smoothing=0.1"],
        ["loss=ce"],
        ["loss.kl.weight=2"],
        ["student.model.width=32"],
        ["optimizer=sgd"],
        ["optimizer.lr=0.1"],
        ["schedule=cosine"],
        ["trainer.epochs=3"],
        ["trainer.threads=2"],
        ["trainer.devices=2"],
        ["teacher.trainer.devices=2"],
        ["trainer.precision=bf16"],
        ["dataset=fake"],
        ["dataset.split_seed=1"],
        ["dataset.limit=100"],
        ["dataset.augment.flip=true"],
        ["dataset.augment.strong_view=2"],
        ["dataset.augment.random_resized_crop=true"],
        ["dataset.augment.auto_augment=randaugment"],
        ["dataset.augment.color_jitter=0.4"],
        ["dataset.augment.random_erasing=0.1"],
        ["dataset.interpolation=bicubic"],
        ["dataset.image_size=7"],
        ["student.image_size=7"],
        ["teacher.image_size=7"],
        ["teacher.view=weak"],
        ["teacher.model.width=8"],
        ["teacher.seed=1"],
        ["teacher.optimizer.lr=0.1"],
        ["student.checkpoint=weights.safetensors"],
        ["teacher.checkpoint=weights.safetensors"],
    ],
)
def test_another_run(mark, words: list[str]) -> None:
    assert mark(*words) != mark()


def test_images_decoded_at_a_fraction_of_their_size_are_another_run(mark) -> None:
    words = "dataset=image_folder", "dataset.source.image_size=64"
    assert mark(*words, "dataset.source.draft=true") != mark(*words)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["dataset.augment.random_resized_crop=true"], "dataset.augment.scale=[0.5,1]"),
        (["dataset.augment.random_resized_crop=true"], "dataset.augment.ratio=[1,1]"),
        (["dataset.augment.auto_augment=randaugment"], "dataset.augment.magnitude=30"),
        (["dataset.augment.auto_augment=randaugment"], "dataset.augment.num_ops=1"),
        (["dataset.image_size=7"], "dataset.crop_pct=1"),
        (["teacher.checkpoint=other"], "teacher.image_size=7"),
        (["teacher.online=true"], "teacher.image_size=7"),
        (["teacher=ensemble"], "+teacher.members.second.image_size=7"),
        (["teacher=peers"], "+teacher.peers.second.image_size=7"),
    ],
)
def test_options_of_what_is_on_are_another_run(mark, words: list[str], option: str) -> None:
    assert mark(*words, option) != mark(*words)


def test_the_batchnorms_of_several_devices_count(mark) -> None:
    assert mark("trainer.devices=2") != mark("trainer.devices=3")
    assert mark("trainer.devices=2", "trainer.sync_batchnorm=true") != mark("trainer.devices=2")


def test_another_kind_of_device_is_another_run(mark, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = mark()
    monkeypatch.setattr(build_specs, "resolve_device", lambda name: "cuda:0")
    assert mark.__wrapped__() != on_cpu


def test_other_data_is_another_run(mark) -> None:
    assert mark(digest="data") != mark(digest="other data")


def test_another_checkpoint_is_another_run(mark) -> None:
    assert mark("teacher.checkpoint=weights.safetensors") != mark("teacher.checkpoint=other")


def test_a_checkpoint_counts_however_its_path_is_written(mark) -> None:
    given = "teacher.checkpoint=weights.safetensors"
    assert mark("teacher.checkpoint=./weights.safetensors") == mark(given)


def test_a_given_teacher_hides_its_recipe(mark) -> None:
    given = ["teacher.checkpoint=other"]
    assert mark(*given, "teacher.optimizer.lr=0.5") == mark(*given)


def test_augmentations_of_the_user_s_count_with_their_order(mark) -> None:
    kl, mse = (f"{{_target_:kdsweep.losses.{name}}}" for name in ("kl.KL", "mse.MSE"))
    words = [f"+dataset.augment.own.b={kl}", f"+dataset.augment.own.a={mse}"]
    found = {mark(), mark(words[0]), mark(*words), mark(*words[::-1])}
    assert len(found) == 4


def test_what_may_be_named_does_not_count(mark) -> None:
    assert mark("allow=[mynet]") == mark()
