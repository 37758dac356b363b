"""What a start may name: a file, a folder of Hugging Face, a run, weights of a library."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from commands import TINY, Compose, overrides
from safetensors.torch import save_file
from torch import Tensor, nn

from kdsweep.builders.class_order import Task
from kdsweep.builders.models import load_given_weights
from kdsweep.builders.starts import library_file, with_normalization
from kdsweep.config.resolve import resolve_config
from kdsweep.errors import UserError
from kdsweep.execution.provenance import input_digests
from kdsweep.models import timm_model, torchvision_model
from kdsweep.models.cnn import CNN
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.training.checkpoint import save_weights

TIMM = "kdsweep.models.timm_model.Timm"
TORCHVISION = "kdsweep.models.torchvision_model.Torchvision"
OWN = {"_target_": "kdsweep.models.cnn.CNN", "width": 4}
RESNET = {"_target_": TORCHVISION, "name": "resnet18"}


@pytest.fixture
def spec(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`spec("T=1")`: the spec of a run of these words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def of(*words: str) -> RunSpec:
        tiny = [word for word in TINY if not overrides(words, word)]
        return build_specs([compose(*tiny, "tracking=none", *words)], [words], 0, [])[0]

    return of


def weights(seed: int = 0, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return CNN(in_shape=(1, 8, 8), num_classes=classes, width=4)


@pytest.mark.ci
def test_a_run_is_identified_by_the_content_of_its_start(spec: Any, tmp_path: Path) -> None:
    for name, seed in (("a.safetensors", 0), ("b.safetensors", 0), ("c.safetensors", 1)):
        save_weights(tmp_path / name, weights(seed))
    student = ["student=cnn", "student.model.width=4"]
    for key, words in (("student.start", student), ("teacher.start", [])):
        without = spec(*words)
        a, b, c = (spec(*words, f"{key}={name}.safetensors") for name in "abc")
        assert a.fingerprint == b.fingerprint
        assert len({without.fingerprint, a.fingerprint, c.fingerprint}) == 3
        by_position = spec(*words, f"{key}=a.safetensors", f"{key}_match=position")
        assert by_position.fingerprint != a.fingerprint


def test_a_teacher_that_is_trained_from_a_start_is_a_run(spec: Any, tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", weights())
    trained = spec("teacher.start=a.safetensors").teachers[0]
    assert trained.run is not None
    assert trained.run.config.student.start == "a.safetensors"
    given = spec("teacher.start=a.safetensors", "recipe=zero")
    assert given.teachers[0].run is None
    assert given.fingerprint == spec("teacher.checkpoint=a.safetensors").fingerprint


def test_a_folder_of_hugging_face_is_its_file(spec: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(weights().state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    named = spec(f"teacher.start={folder}")
    assert named.config.teacher.start == str(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert spec(f"teacher.start={folder}").config.teacher.start == f"{folder}/pytorch_model.bin"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["model.safetensors.index.json"], "weights in one file, got .*, which has them"),
        (["config.json"], "a folder without a result.json and without a file of weights"),
    ],
)
def test_other_folders_are_refused(
    spec: Any, tmp_path: Path, files: list[str], reason: str
) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=rf"^teacher\.start must be .*{reason}"):
        spec(f"teacher.start={tmp_path}")


class Malicious:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("made"),))


def test_a_pickle_is_refused_in_a_sentence_and_never_run(spec: Any, tmp_path: Path) -> None:
    torch.save({"stem": torch.zeros(2), "code": Malicious()}, tmp_path / "bad.pt")
    given = spec("teacher.start=bad.pt", "recipe=zero").config.teacher
    with pytest.raises(UserError) as caught:
        load_given_weights(weights(), given, "teacher", Task("abc", (3, 32, 32)))
    assert str(caught.value).startswith("teacher.start must be")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_a_name_that_is_nothing_lists_what_is_allowed(spec: Any) -> None:
    with pytest.raises(UserError, match=r"^teacher\.start must be a file of weights, got nothing"):
        spec("teacher.start=nothing-here")


@pytest.mark.parametrize(
    ("word", "model"),
    [
        ("IMAGENET1K_V1", RESNET),
        ("DEFAULT", RESNET),
        ("ResNet18_Weights.IMAGENET1K_V1", OWN),
        ("ResNet18_Weights.DEFAULT", None),
    ],
)
def test_weights_of_torchvision_are_written_once(
    word: str, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def state(weights: Any, **options: Any) -> dict[str, Tensor]:
        asked.append(str(weights))
        assert options["check_hash"]
        return {"fc.weight": torch.ones(2, 3)}

    monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", state, raising=False)
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", state)
    file = library_file(word, "teacher.start", model, tmp_path / "downloads")
    assert file == f"{tmp_path}/downloads/ResNet18_Weights.IMAGENET1K_V1.safetensors"
    assert library_file(word, "teacher.start", model, tmp_path / "downloads") == file
    assert asked == ["ResNet18_Weights.IMAGENET1K_V1"]


def test_without_a_connection_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(UserError) as caught:
        library_file("DEFAULT", "student.start", RESNET, tmp_path)
    assert str(caught.value).startswith(
        "student.start must be weights that can be loaded, got DEFAULT: the weights"
        " ResNet18_Weights.IMAGENET1K_V1 could not be downloaded"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "word", ["nothing", "resnet18.nobody", "a/b", "12e4", "resnet18.", "DEFAULT"]
)
def test_other_names_are_of_no_library(word: str, tmp_path: Path) -> None:
    assert library_file(word, "teacher.start", OWN, tmp_path) is None


def test_weights_of_timm_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    asked = []

    def create(name: str, **options: Any) -> nn.Module:
        asked.append((name, options))
        return nn.Linear(2, 3)

    monkeypatch.setattr("timm.create_model", create)
    own = {"_target_": TIMM, "name": "resnet18"}
    for word, name in (("resnet18.a1_in1k", "resnet18.a1_in1k"), ("DEFAULT", "resnet18")):
        file = library_file(word, "teacher.start", own, tmp_path)
        assert file == f"{tmp_path}/{name}.safetensors"
        assert library_file(word, "teacher.start", own, tmp_path) == file
        assert asked.pop() == (name, {"pretrained": True})
    assert not asked


def test_weights_for_images_normalised_otherwise_need_their_name(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    own = {"_target_": TIMM, "name": "tf_efficientnet_b0.aa_in1k"}
    with pytest.raises(
        UserError,
        match=r"^teacher\.model\.name must be tf_efficientnet_b0\.ap_in1k with teacher\.start=",
    ):
        library_file("tf_efficientnet_b0.ap_in1k", "teacher.start", own, tmp_path)


def test_images_get_the_normalisation_of_the_library_s_weights(compose: Compose) -> None:
    assert with_normalization(RESNET) == {**RESNET, "normalize": "weights"}
    chosen = {**RESNET, "normalize": "dataset"}
    assert with_normalization(chosen) is chosen
    assert with_normalization(OWN) is OWN
    assert with_normalization(None) is None
    assert (
        resolve_config(compose("student=torchvision", "student.model.name=resnet18")).student.model[
            "normalize"
        ]
        is None
    )


def test_the_normalisation_is_that_of_the_name() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert torchvision_model.normalization("resnet18", "DEFAULT") == imagenet
    pytest.importorskip("timm")
    assert timm_model.normalization("tf_efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["teacher.start=a", "teacher.checkpoint=b"],
            "teacher.start must be null with teacher.checkpoint, got a",
        ),
        (["teacher.start_match=position"], "teacher.start must be given with teacher.start_match="),
        (["teacher.start_match=order"], "teacher.start_match must be name | position, got order"),
        (["student.start_match=position"], "student.start must be given with student.start_match="),
        (["trainer.train=head"], "trainer.train must be all, for students are trained as a whole"),
        (
            ["teacher.trainer.train=some"],
            "teacher.trainer.train must be all | head | none, got some",
        ),
        (["recipe=zero"], "teacher.start must be given with teacher.trainer.train=none, got null"),
        (
            ["recipe=linear_probe", "teacher.online=true"],
            "teacher.trainer.train must be all with teacher.online=true, got head",
        ),
        (["trainer.layer_decay=0"], "trainer.layer_decay must be a number in (0, 1], got 0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    spec: Any, tmp_path: Path, words: list[str], message: str
) -> None:
    for name in "ab":
        save_weights(tmp_path / name, weights())
    with pytest.raises(UserError) as caught:
        spec(*words)
    assert message in str(caught.value)


def test_the_config_of_a_run_has_the_digest_of_its_start(spec: Any, tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", weights())
    run = spec("student=cnn", "student.model.width=4", "student.start=a.safetensors")
    assert input_digests(run)["student.start"] == run.digests["a.safetensors"]
    assert "start: a.safetensors" in run.config_yaml
