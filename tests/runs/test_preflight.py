"""What is refused once the networks and the data are there, before any training."""

import pickle
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Check, Command, Compose, Refusal
from PIL import Image

from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.runs import preflight as preflight_module
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_unit
from kdsweep.tracking.console import Progress
from kdsweep.training import checkpoint
from kdsweep.training.mutual import Peers
from kdsweep.training.student import Student


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["loss=[kl,fitnet]"],
            "teacher.fold_batchnorm must be false with loss.fitnet, which read features of the"
            " teacher, got true",
        ),
        (
            ["student=cnn", "loss=ft", "stages=factors"],
            "teacher.fold_batchnorm must be false with loss.",
        ),
        (
            ["teacher.model._target_=kdsweep.models.mlp.MLP"],
            "teacher.fold_batchnorm must be false with a teacher.model without a BatchNorm that"
            " directly follows a convolution, got true",
        ),
        (["teacher.online=true"], "fold_batchnorm must be false with teacher.online=true, whose"),
        (["teacher=peers"], "teacher.fold_batchnorm must be false with teacher.peers, whose"),
    ],
)
def test_folding_is_refused_where_it_cannot_be(
    refusal: Refusal, words: list[str], sentence: str
) -> None:
    assert sentence in refusal(*words, "teacher.fold_batchnorm=true")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss.kl.T=null"], "loss.kl.T must be a number from 1e-6 to 1e6, got null"),
        (["loss.kl.weight=-1"], "loss.kl.weight must be a finite number >= 0, got -1"),
        (["loss.kl.standardize=maybe"], "loss.kl.standardize must be true or false, got maybe"),
        (["loss.kl=3"], "loss.kl must be a term's options, got 3"),
        (
            ["loss.kl.schedule=20"],
            "loss.kl.schedule must be null or hold some of warmup, ",
        ),
        (["loss.kl.schedule={warm:3}"], "loss.kl.schedule must be null or hold some of warmup,"),
        (["loss.kl.schedule={warmup:0}"], "loss.kl.schedule.warmup must be an integer >= 1, got"),
        (
            ["loss.kl.schedule={until:1}", "hard_weight=0"],
            "loss: hard_weight or the weight of a term must be > 0 in every epoch, got",
        ),
        (["trainer.batch_size=5000"], "trainer.batch_size must be at most the"),
        (["trainer.device=tpu9"], "trainer.device must be auto, cpu or a device"),
        (
            ["schedule.warmup_epochs=9"],
            "schedule.warmup_epochs must be less than trainer.epochs=2, got 9",
        ),
        (["schedule=multistep", "schedule.milestones=[3,2]"], "milestones must be rising"),
        (["teacher.trainer.batch_size=5000"], "teacher.trainer.batch_size must be at most the"),
        (["loss=[kl,kl]"], "loss must name each option once, got [kl,kl]"),
        (["loss=[]"], "loss must name at least one option"),
        (["teacher=none"], "teacher must be a model for these loss terms, got none"),
        (["loss=fitnet", "loss.fitnet.pairs=[[layer9,stage1]]"], "student.model (flatten, "),
        (["loss=fitnet", "loss.fitnet.pairs=[]"], "loss.fitnet.pairs must be"),
        (
            ["loss=fitnet", "loss.fitnet.pairs=${pairs:maps}"],
            "loss.fitnet.pairs: student.features.maps must be given, got []; or list the pairs",
        ),
        (["loss=fitnet", "teacher=none"], "loss.fitnet.pairs: teacher must be a model, got none"),
        (["loss=fitnet", "loss.fitnet.pairs=[[pool,stage1]]"], "head), got pool"),
        (
            ["loss=fitnet", "loss.fitnet.pairs=[[hidden2,stage1]]"],
            "loss.fitnet.pairs [hidden2, stage1]: features must be two vectors",
        ),
        (["dataset.val_fraction=1"], "dataset.val_fraction must be"),
        (["dataset.train_fraction=0"], "dataset.train_fraction must be"),
        (["dataset.limit=0"], "dataset.limit must be"),
        (["student.model.width=0"], "student.model.width must be an integer > 0, got 0"),
        (
            ["student.checkpoint=nowhere.safetensors"],
            "student.checkpoint must be a file of weights",
        ),
        (["teacher.checkpoint=nowhere.pt"], "teacher.checkpoint must be a file of weights"),
        (["dataset.classes=7"], "dataset.classes"),
        (
            ["teacher=vgg16", "teacher.model.width=0.1", "dataset=digits"],
            "vgg16 needs images of at least 32 x 32, got 8 x 8",
        ),
        (["dataset=image_folder"], "dataset.root must be given"),
        (["teacher=torchvision"], "teacher.model.name must be given"),
        (
            ["loss=fitnet", "loss.fitnet.pairs=[[nope,stage1]]"],
            "loss.fitnet.pairs must name modules of student.model (",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    refusal: Refusal, words: list[str], sentence: str
) -> None:
    assert sentence in refusal(*words)


def test_features_that_networks_lack_are_named_with_those_there_are(refusal: Refusal) -> None:
    message = refusal("loss=fitnet", "loss.fitnet.pairs=[[layer99,stage9]]")
    student, teacher = sorted(message.splitlines())
    assert student == (
        "loss.fitnet.pairs must name modules of student.model (flatten, head, hidden1, hidden2,"
        " dropout), got layer99"
    )
    assert teacher.startswith(
        "loss.fitnet.pairs must name modules of teacher.model (stage1, stage2, stage3, "
    )
    assert teacher.endswith(", got stage9; did you mean stage1?")


SINGLE = ["dataset.source.shape=[3,16,16]", "trainer.batch_size=1"]


@pytest.mark.slow
def test_batches_of_one_image_are_refused_where_batchnorm_has_one_value(refusal: Refusal) -> None:
    message = refusal("student=mobilenetv2", "student.model.width=0.1", *SINGLE)
    assert message.startswith("trainer.batch_size must be at least 2 for student.model, got 1: ")
    teacher = ["teacher=mobilenetv2", "teacher.model.width=0.1", "teacher.trainer.batch_size=1"]
    message = refusal(*teacher, SINGLE[0])
    assert message.startswith("teacher.trainer.batch_size must be at least 2 for teacher.model")


@pytest.mark.ci
def test_batches_of_one_image_are_refused_for_such_a_teacher_in_train_mode(
    refusal: Refusal,
) -> None:
    networks = ["student=cnn", "teacher=mobilenetv2", "teacher.model.width=0.1"]
    message = refusal(*networks, "loss=ofd", "loss.ofd.pairs=[[stage1,stage4]]", *SINGLE)
    sentence = "trainer.batch_size must be at least 2 for a teacher in train mode, got 1: "
    assert message.startswith(sentence)


def test_networks_without_class_maps_are_refused(refusal: Refusal) -> None:
    message = refusal("loss=cat_kd", "student=mlp")
    sentence = "must name a module of student.model that takes a map with the 8 channels of the"
    assert message == f"loss.cat_kd.pairs {sentence} classifier, got (B, 8) in hidden2:class_maps"
    message = refusal("loss=cat_kd", "student=cnn", "loss.cat_kd.pairs=[[pool:class_maps,pool]]")
    assert message.startswith("loss.cat_kd.pairs [pool:class_maps, pool]: features must be maps")


def test_features_that_the_teachers_classifier_does_not_take_are_refused(refusal: Refusal) -> None:
    message = refusal("loss=srrl", "student=cnn", "loss.srrl.pairs=[[pool,stage1]]")
    assert message.startswith(
        "loss.srrl.pairs must name the features that a single linear layer, the teacher's"
    )


@pytest.mark.ci
def test_a_teacher_that_awaits_a_classifier_cannot_be_trained(refusal: Refusal) -> None:
    message = refusal("loss=kl", "teacher=simkd", "student=cnn")
    assert message == (
        "teacher.model must be trained with loss=simkd, which gives it the teacher's classifier, or"
        " begin with a checkpoint, got loss ce"
    )


def test_a_student_that_would_train_its_classifier_is_refused(refusal: Refusal) -> None:
    message = refusal("loss=simkd", "student=cnn", "student.model.width=4")
    assert message.startswith("loss.simkd must be of a student that reuses the teacher's ")


def test_images_that_do_not_fit_into_memory_are_named(refusal: Refusal) -> None:
    message = refusal("dataset.source.shape=[1,1000000,1000000]")
    assert message.startswith("dataset.source must fit into memory, got {")


def test_what_does_not_fit_into_memory_is_named(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdsweep.models import mlp

    def full(*args: object, **kwargs: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1")

    monkeypatch.setattr(mlp.nn, "Linear", full)
    assert "student.model must fit into memory, got {" in refusal("loss=ce")


def folder_of_images(root: Path) -> Path:
    """A small image folder as a user has it."""
    for split, count in (("train", 20), ("test", 4)):
        for name, shade in (("cat", 60), ("dog", 200)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (32, 32), (shade, number, 7 * number))
                image.save(root / split / name / f"{number}.png")
    return root


def image_folder(root: Path) -> list[str]:
    sizes = ["trainer.batch_size=8", "teacher.trainer.batch_size=8"]
    return ["dataset=image_folder", f"dataset.root={root}", *sizes]


def test_a_missing_folder(refusal: Refusal, tmp_path: Path) -> None:
    sentence = refusal(*image_folder(tmp_path / "nowhere"))
    assert "dataset.root" in sentence
    assert "nowhere" in sentence


def test_an_empty_folder(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "dataset.root" in refusal(*image_folder(tmp_path / "empty"))


def test_an_empty_class_folder(refusal: Refusal, tmp_path: Path) -> None:
    root = folder_of_images(tmp_path / "pets")
    (root / "train" / "eel").mkdir()
    assert "eel" in refusal(*image_folder(root))


def test_an_unreadable_image_is_named_and_skipped_on_request(
    check: Check, refusal: Refusal, tmp_path: Path
) -> None:
    root = folder_of_images(tmp_path / "pets")
    (root / "train" / "cat" / "3.png").write_bytes(b"not an image")
    assert "3.png" in refusal(*image_folder(root))
    check(*image_folder(root), "dataset.source.skip_unreadable=true")


def test_a_corrupt_checkpoint(refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(b"\x08\x00")
    assert "cut.safetensors, which is damaged" in refusal(f"teacher.checkpoint={path}")


def test_a_pickled_checkpoint(refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"weights": Path("somewhere")}))
    assert "pickled objects; those are never loaded" in refusal(f"student.checkpoint={path}")


def test_a_foreign_checkpoint(refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    checkpoint.save_weights(path, torch.nn.Linear(3, 2))
    sentence = refusal(f"teacher.checkpoint={path}")
    assert "teacher.checkpoint" in sentence
    assert "other.safetensors" in sentence


def test_a_checkpoint_for_other_classes(refusal: Refusal, tmp_path: Path) -> None:
    from kdsweep.models.cnn import CNN

    path = tmp_path / "hundred.safetensors"
    checkpoint.save_weights(path, CNN(in_shape=(3, 32, 32), num_classes=100, width=32))
    sentence = refusal(f"teacher.checkpoint={path}")
    assert "teacher.checkpoint" in sentence
    assert "(100" in sentence


def checked_runs(
    compose: Compose, jobs: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The names of the runs whose parts the preflight builds."""
    built: list[str] = []

    def build(spec: RunSpec, *arguments: Any) -> Student | Peers:
        built.append(spec.name)
        return build_unit(spec, *arguments)

    monkeypatch.setattr(preflight_module, "build_unit", build)
    words = [["teacher=none", "loss=ce", *job] for job in jobs]
    specs = build_specs([compose(*job) for job in words], words, 0, [])
    with closing(TrainingContext({"uri": None}, Progress())) as context:
        preflight_module.preflight(specs, context.dataset)
    return built


def test_the_parts_of_several_seeds_are_built_once(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [[f"seed={seed}", f"optimizer.lr={lr}"] for lr in (0.1, 0.2) for seed in (0, 1, 2)]
    assert len(checked_runs(compose, jobs, monkeypatch)) == 2


@pytest.mark.ci
def test_the_parts_of_a_grid_of_temperatures_and_weights_are_built_once(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [["loss=tfkd"], ["loss=tfkd", "student.model.width=4"]]
    grid = [[f"T={T}", f"alpha={alpha}", f"seed={T}"] for T in (1, 4) for alpha in (0.1, 0.9)]
    other = [["loss.tfkd.T=3"], ["loss.tfkd.weight=2"], ["hard_weight=1"]]
    jobs = [[*kind, *words] for kind in kinds for words in (*grid, *other)]
    assert len(checked_runs(compose, jobs, monkeypatch)) == len(kinds)


def test_all_seeds_of_what_cannot_be_built_are_named(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "trainer.batch_size=5000"
    jobs = [[], *([wrong, f"seed={seed}"] for seed in (0, 1))]
    with pytest.raises(UserError, match=r"batch_size must be at most .* \(run 1; run 2\)"):
        checked_runs(compose, jobs, monkeypatch)


@pytest.mark.slow
def test_a_search_may_choose_by_the_validation_set_of_a_folder(
    command: Command, tmp_path: Path
) -> None:
    root = folder_of_images(tmp_path / "pets")
    shutil.copytree(root / "train", root / "val")
    words = ["search=bayes", "hydra.sweeper.n_trials=1", "search.finalists=1"]
    words += ["search.finalist_seeds=2"]
    outcome = command(*image_folder(root), *words, "dataset.val_fraction=0", "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    assert "fresh val/acc" in outcome.out, "the finalist has been trained again"
    assert outcome.rows[0]["val/acc"] is not None
