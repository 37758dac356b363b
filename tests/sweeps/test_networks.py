"""Networks of libraries in whole commands: in lockstep as alone, and without a classifier."""

import json
from pathlib import Path

import pytest
import torch
from commands import UNDRAWN, Command, Outcome, Refusal
from hf_folders import write_clip, write_dinov2, write_vit
from safetensors.torch import load_file, save_file

import kdsweep
from kdsweep.common.files import read_json
from kdsweep.models.timm_model import Timm
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR
from kdsweep.training.checkpoint import save_weights

IMAGES = (
    *("dataset=fake", "dataset.source.shape=[3,32,32]", "dataset.source.num_classes=4"),
    *("dataset.source.num_train=24", "dataset.source.num_test=8"),
    *("trainer.epochs=1", "trainer.batch_size=8", "tracking=none", *UNDRAWN),
)
FEW = ("teacher.trainer.epochs=2", "teacher.trainer.batch_size=8")  # of a recipe
SMALL = ("student=cnn", "student.model.width=4")
TOWER = ("loss=embedding", "hard_weight=0.5")


@pytest.fixture
def hf(tmp_path: Path) -> Path:
    write_vit(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def timm_file(tmp_path: Path) -> Path:
    """Weights of a tiny transformer of timm with a head for 7 classes."""
    pytest.importorskip("timm")
    torch.manual_seed(0)
    save_weights(tmp_path / "vit.safetensors", Timm("test_vit", (3, 32, 32), 7))
    return tmp_path / "vit.safetensors"


def weights(outcome: Outcome) -> dict[str, str]:
    assert outcome.code == 0, outcome.err
    return {row["cell"]: row["weights_sha256"] for row in outcome.rows}


def assert_same_alone(command: Command, swept: str, *words: str) -> Outcome:
    """A sweep over the two values of a key has the weights of a run of the second one alone."""
    key, values = swept.split("=")[0], swept.split("=")[1].split(",")
    together = command(*IMAGES, *words, swept, tiny=False)
    found = list(weights(together).values())
    (alone,) = weights(command(*IMAGES, *words, f"{key}={values[-1]}", tiny=False)).values()
    assert len(set(found)) == 2
    assert found[1] == alone
    return together


@pytest.mark.slow
def test_a_transformer_of_timm_in_lockstep(command: Command, own_teachers: str) -> None:
    pytest.importorskip("timm")
    words = ["student=timm", "student.model.name=test_vit", "teacher=cnn", "teacher.model.width=4"]
    assert_same_alone(command, "T=1,4", *words, "teacher.trainer.epochs=1", own_teachers)


@pytest.mark.slow
def test_a_transformer_of_hugging_face_as_student_and_teacher_in_lockstep(
    command: Command, hf: Path, own_teachers: str
) -> None:
    words = [f"{role}={name}" for role in ("student", "teacher") for name in ("hf",)]
    words += [f"student.model.path={hf}", f"teacher.model.path={hf}", own_teachers]
    outcome = assert_same_alone(command, "T=1,4", *words)
    assert "teacher vit: val " in outcome.err + outcome.out


@pytest.mark.slow  # six million weights
def test_a_distillation_token_of_timm_in_lockstep(command: Command, own_teachers: str) -> None:
    pytest.importorskip("timm")
    words = ["student=timm", "student.model.name=deit_tiny_distilled_patch16_224", "loss=deit"]
    words += ["teacher=cnn", "teacher.model.width=4", "teacher.trainer.epochs=1", own_teachers]
    assert_same_alone(command, "alpha=0.3,0.7", *words)


@pytest.mark.slow
def test_clip_as_a_teacher_of_embeddings_in_lockstep(
    command: Command, clip: Path, own_teachers: str
) -> None:
    words = [*SMALL, "teacher=hf_features", f"teacher.model.path={clip}", *TOWER, own_teachers]
    outcome = assert_same_alone(command, "loss.embedding.weight=1,4", *words)
    row = outcome.rows[0]
    assert "val/agreement" not in row or row["val/agreement"] is None
    result = read_json(
        Path(row["folder"] if "folder" in row else outcome.sweep / "0") / "result.json"
    )
    assert result["status"] == "FINISHED"


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["rkd", "cc", "pkt", "sp"])
def test_terms_on_features_take_a_tower_of_timm(
    command: Command, timm_file: Path, own_teachers: str, loss: str
) -> None:
    words = ["teacher=timm_features", "teacher.model.name=test_vit", f"teacher.start={timm_file}"]
    pairs = f"loss.{loss}.pairs=" + "${pairs:embedding}"
    outcome = command(*IMAGES, *SMALL, *words, f"loss={loss}", pairs, own_teachers, tiny=False)
    assert outcome.code == 0, outcome.err
    assert "head dropped: 2 tensors ('head.bias', 'head.weight')" in outcome.err + outcome.out


OF_TIMM = ("student=timm", "teacher=timm", "teacher.model.name=resnet10t")


@pytest.mark.slow  # the teacher has five million weights
@pytest.mark.parametrize("loss", ["fitnet", "at", "review"])
def test_terms_on_features_need_no_module_paths(
    command: Command, own_teachers: str, loss: str
) -> None:
    pytest.importorskip("timm")
    words = [*OF_TIMM, "student.model.name=mobilenetv3_small_050", f"loss={loss}", *FEW]
    outcome = command(*IMAGES, *words, own_teachers, tiny=False)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_a_term_on_maps_refuses_tokens_with_both_shapes(command: Command) -> None:
    pytest.importorskip("timm")
    words = [*OF_TIMM, "student.model.name=vit_tiny_patch16_224", "loss=at", *FEW]
    outcome = command(*IMAGES, *words, tiny=False)
    assert (outcome.code, outcome.err.splitlines()[-1]) == (
        1,
        "loss.at.pairs [blocks.1, layer1]: features must be maps (B, channels, H, W), got"
        " (B, 5, 192) and (B, 64, 8, 8)",
    )


@pytest.mark.ci
@pytest.mark.parametrize(
    "loss", ["kl", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("dkd", "ofa", "srrl"))]
)
def test_a_term_that_needs_logits_refuses_a_tower(refusal: Refusal, clip: Path, loss: str) -> None:
    words = [*IMAGES, *SMALL, "teacher=hf_features", f"teacher.model.path={clip}", f"loss={loss}"]
    options = {
        "ofa": ["loss.ofa.stages=[stage3]"],
        "srrl": ["loss.srrl.pairs=[[pool,embedding]]"],
    }
    assert refusal(*words, *options.get(loss, [])).startswith(
        f"teacher.model.head must be true with loss.{loss}, which needs a classifier, got false; "
    )


@pytest.mark.parametrize("recipe", ["finetune", "linear_probe"])
def test_a_tower_is_not_trained(refusal: Refusal, clip: Path, recipe: str) -> None:
    words = ["teacher=hf_features", f"teacher.model.path={clip}", f"recipe={recipe}", *TOWER, *FEW]
    sentence = "teacher.model.head must be true for a network that is trained, got false"
    assert refusal(*IMAGES, *SMALL, *words) == sentence


@pytest.mark.ci
def test_a_student_is_a_classifier(command: Command, hf: Path) -> None:
    words = ["student=hf", f"student.model.path={hf}", "+student.model.head=false", "loss=ce"]
    outcome = command(*IMAGES, "teacher=none", *words, tiny=False)
    sentence = "student.model.head must be true for a network that is trained, got false"
    assert (outcome.code, outcome.err.splitlines()[-1]) == (1, sentence)


@pytest.mark.slow
def test_the_labels_of_a_teacher_are_put_in_the_order_of_the_data_set(
    command: Command, tmp_path: Path, own_teachers: str
) -> None:
    write_vit(tmp_path / "vit")
    found = {}
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        config = read_json(tmp_path / "vit" / "config.json")
        labels = {str(number): f"class {place}" for number, place in enumerate(order)}
        (tmp_path / "vit" / "config.json").write_text(json.dumps({**config, "id2label": labels}))
        words = ["teacher=hf", f"teacher.model.path={tmp_path / 'vit'}", own_teachers]
        outcome = command(*IMAGES, *SMALL, *words, tiny=False)
        assert outcome.code == 0, outcome.err
        is_noted = "were put in the order of the data set" in outcome.err + outcome.out
        assert is_noted == (order[0] != 0)
        (path,) = (outcome.sweep / TEACHER_PREDICTIONS_DIR).glob("*.safetensors")
        found[tuple(order)] = load_file(path)["test/logits"]
    as_they_are, reordered = found.values()
    assert not torch.equal(as_they_are, reordered)
    torch.testing.assert_close(reordered, as_they_are[:, [1, 3, 0, 2]])


def test_a_head_for_other_classes_is_not_used_as_it_is(refusal: Refusal, tmp_path: Path) -> None:
    write_vit(tmp_path / "vit", labels=7)
    words = [*IMAGES, *SMALL, "teacher=hf", f"teacher.model.path={tmp_path / 'vit'}"]
    text = refusal(*words)
    assert text.startswith("teacher.start must be weights of this network, got ")
    assert "has 'classifier.bias' of shape (7,), the model needs (4,)" in text
    assert text.endswith("; recipe=finetune and recipe=linear_probe train a head for these classes")


@pytest.mark.slow
def test_dinov2_with_a_linear_head(command: Command, tmp_path: Path, own_teachers: str) -> None:
    write_dinov2(tmp_path / "dino")
    words = ["teacher=hf", f"teacher.model.path={tmp_path / 'dino'}", "recipe=linear_probe"]
    outcome = command(*IMAGES, *SMALL, *words, *FEW, own_teachers, tiny=False)
    assert outcome.code == 0, outcome.err
    assert "head of zeros instead" in outcome.err + outcome.out


@pytest.mark.slow
def test_clip_classifies_by_texts_in_the_order_of_the_data_set(
    command: Command, clip: Path, tmp_path: Path, own_teachers: str
) -> None:
    words = [*SMALL, "teacher=hf_zero_shot", f"teacher.model.path={clip}", own_teachers]
    found, embeddings = [], torch.randn(5, 12)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        file = tmp_path / f"{order[0]}.safetensors"
        names = json.dumps([f"class {place}" for place in order])
        save_file({"embeddings": embeddings[order]}, file, {"classes": names})
        outcome = command(*IMAGES, *words, f"teacher.model.texts={file}", tiny=False)
        assert outcome.code == 0, outcome.err
        (path,) = (outcome.sweep / TEACHER_PREDICTIONS_DIR).glob("*.safetensors")
        found.append(load_file(path)["test/logits"])
    torch.testing.assert_close(found[0], found[1])
    save_file({"embeddings": embeddings[:2]}, file, {"classes": '["class 0", "class 1"]'})
    outcome = command(*IMAGES, *words, f"teacher.model.texts={file}", tiny=False)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "teacher.model.texts must have an embedding of every class of the data set, got none of"
        " class 2, class 3"
    )


@pytest.mark.ci
def test_a_student_of_hugging_face_is_loaded_without_its_folder(
    command: Command, hf: Path, own_teachers: str
) -> None:
    words = ["student=hf", f"student.model.path={hf}", "teacher=none", "loss=ce"]
    outcome = command(*IMAGES, *words, tiny=False)
    assert outcome.code == 0, outcome.err
    for path in hf.iterdir():
        path.unlink()
    classifier = kdsweep.load(str(outcome.sweep / "0"))
    assert classifier.module(torch.rand(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.ci
def test_a_size_that_differs_from_the_preprocessing_is_noted(command: Command, hf: Path) -> None:
    words = ["student=hf", f"student.model.path={hf}", "teacher=none", "loss=ce"]
    outcome = command(*IMAGES, "dataset.source.shape=[3,16,16]", *words, tiny=False)
    line = "vit: its weights were trained with image_size=32, got image_size=16"
    assert line in outcome.err + outcome.out
