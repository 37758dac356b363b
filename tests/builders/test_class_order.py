"""Weights whose classes are those of the data set in another order; the identity of such runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Compose
from hf_folders import write_clip
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from kdsweep.builders.class_order import Task, note_other_labels, positions, put_in_order
from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec

TASK = Task(("cat", "dog", "owl"), (1, 2, 2))


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (("owl", "cat", "dog"), [1, 2, 0]),
        (("cat", "dog", "owl"), None),
        (("cat", "dog", "ant"), None),
        (("cat", "dog"), None),
        (("cat", "cat", "dog"), None),
        ((), None),
    ],
)
def test_the_order_of_the_same_names(labels: tuple[str, ...], order: list[int] | None) -> None:
    assert positions(labels, TASK.classes) == order


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def weights(folder: Path, *labels: str) -> str:
    file = folder / "a.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"classes": json.dumps(labels)})
    return str(file)


def test_logits_are_put_in_the_order_of_the_data_set(
    network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.rand(2, 1, 2, 2)
    before = network(images)
    with caplog.at_level("INFO"):
        put_in_order(network, weights(tmp_path, "owl", "cat", "dog"), "teacher.start", TASK)
    torch.testing.assert_close(network(images), before[:, [1, 2, 0]])
    assert caplog.messages == [
        "teacher.start: its classes ('owl', 'cat', 'dog') were put in the order of the data set"
        " ('cat', 'dog', 'owl')"
    ]


def test_other_names_are_noted_and_change_nothing(
    network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, file = torch.rand(2, 1, 2, 2), weights(tmp_path, "Katze", "Hund", "Eule")
    before = network(images)
    with caplog.at_level("INFO"):
        put_in_order(network, file, "teacher.start", TASK)
        note_other_labels(file, "teacher.start", TASK)
        note_other_labels(weights(tmp_path, "dog", "cat", "owl"), "teacher.start", TASK)
    assert torch.equal(network(images), before)
    assert caplog.messages == [
        "teacher.start: the classes of its weights are 'Katze', 'Hund', 'Eule', those of the data"
        " set 'cat', 'dog', 'owl': it is used as if they were the same, in this order"
    ]


def test_a_head_that_cannot_be_reordered_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), Sums())
    file = weights(tmp_path, "b", "a")
    with pytest.raises(UserError) as caught:
        put_in_order(model, file, "teacher.start", Task(("a", "b"), (1, 2, 2)))
    assert str(caught.value) == (
        f"teacher.start must be weights for 'a', 'b', in this order, got {file}, which is for 'b',"
        " 'a', and its logits are not the outputs of linear layers, which could be put in another"
        " order"
    )


class Sums(nn.Module):
    """(B, 2, 2) -> (B, 2)."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return pairs.sum(2)


@pytest.fixture
def spec(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`spec("T=1")`: the spec of a run of these words on the images of a table of labels."""
    monkeypatch.chdir(tmp_path)
    for image in range(8):
        Image.new("RGB", (16, 16), (image, 0, 0)).save(tmp_path / f"{image}.png")
    words = ["dataset=image_folder", f"dataset.root={tmp_path}", "dataset.source.csv=labels.csv"]
    words += ["student=cnn", "trainer.batch_size=2", "tracking=none", "cache.gib=0"]

    def of(*more: str) -> RunSpec:
        return build_specs([compose(*words, *more)], [[*words, *more]], 0, [])[0]

    return of


def name_classes(folder: Path, first: str, second: str) -> None:
    """Label the images by these names; the numbers of the classes are those of sorted names."""
    rows = [f"{image}.png,{(first, second)[image % 2]}" for image in range(8)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]))


@pytest.mark.slow
def test_the_names_of_classes_count_for_a_zero_shot_teacher_alone(
    spec: Any, tmp_path: Path
) -> None:
    write_clip(tmp_path / "clip")
    embeddings = {"embeddings": torch.randn(3, 12)}
    save_file(embeddings, tmp_path / "texts.safetensors", {"classes": '["cat", "dog", "owl"]'})
    zero_shot = ["teacher=hf_zero_shot", "teacher.model.path=clip"]
    zero_shot += ["teacher.model.texts=texts.safetensors"]
    finetuned = [*zero_shot, "recipe=finetune"]
    found = []
    for names in (("cat", "dog"), ("cat", "owl")):
        name_classes(tmp_path, *names)
        found.append([spec(*words) for words in (zero_shot, finetuned, ["teacher=cnn"])])
    (zero, tuned, plain), (other_zero, other_tuned, other_plain) = found
    assert zero.digests["dataset"] == other_zero.digests["dataset"]
    assert plain.fingerprint == other_plain.fingerprint
    assert zero.fingerprint != other_zero.fingerprint
    assert tuned.fingerprint != other_tuned.fingerprint
    assert tuned.teachers[0].run.fingerprint != other_tuned.teachers[0].run.fingerprint


def test_the_names_of_classes_count_where_they_order_those_of_weights(
    spec: Any, tmp_path: Path
) -> None:
    def identity(*labels: str) -> str:
        metadata = {"classes": json.dumps(labels)} if labels else {"format": "pt"}
        save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
        found: str = spec("teacher=none", "loss=ce", "student.start=a.safetensors").digests[
            "a.safetensors"
        ]
        return found

    name_classes(tmp_path, "cat", "dog")
    digests = {labels: identity(*labels) for labels in (("cat", "dog"), ("dog", "cat"))}
    name_classes(tmp_path, "ant", "bee")
    assert identity("cat", "dog") == digests["cat", "dog"]
    assert identity("dog", "cat") != digests["dog", "cat"]
