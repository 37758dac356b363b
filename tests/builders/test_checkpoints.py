"""Wherever a file of weights is accepted, a run is: its folder, its id, or the best of a sweep."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TINY, Compose, overrides
from omegaconf import OmegaConf

from kdsweep.errors import UserError
from kdsweep.models.cnn import CNN
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.metadata import SWEEP
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import CONFIG, RESULT, RUN, WEIGHTS
from kdsweep.training.checkpoint import save_weights, sha256

ID = "0123456789abcdef" * 2
FINGERPRINT = "fedcba9876543210"

Specs = Callable[..., RunSpec]


@pytest.fixture
def spec(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Specs:
    """`spec("T=1")`: the spec of a run of these words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def of(*words: str) -> RunSpec:
        tiny = [word for word in TINY if not overrides(words, word)]
        return build_specs([compose(*tiny, "tracking=none", *words)], [words], 0, [])[0]

    return of


def refused(spec: Specs, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        spec(*words)
    return str(caught.value)


def trained(folder: Path, width: int = 4, seed: int = 0, **result: Any) -> Path:
    """The folder of a run that has trained a small network, and the file of its weights."""
    torch.manual_seed(seed)
    network = CNN(in_shape=(1, 8, 8), num_classes=10, width=width)
    (folder / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, network)
    model = {"_target_": "kdsweep.models.cnn.CNN", "width": width, "dropout": 0.1}
    config = {"student": {"name": "cnn", "model": model}, "tracking": {}}
    OmegaConf.save(OmegaConf.create(config), folder / CONFIG)
    known = {"name": f"kl T=4 seed={seed}", "fingerprint": FINGERPRINT, "mlflow_run_id": ID}
    known |= {"status": "FINISHED", "weights_sha256": sha256(network), **result}
    (folder / RESULT).write_text(json.dumps(known))
    (folder / RUN).write_text(json.dumps({**known, "params": {}}))
    return folder / WEIGHTS


def sweep(folder: Path, *accuracies: float | None, **note: Any) -> list[Path]:
    """A sweep's folder with runs of these validation accuracies; the test has others choose."""
    content = {"name": "a sweep", "created": 0.0, **note}
    folder.mkdir(parents=True)
    (folder / SWEEP).write_text(json.dumps(content))
    return [
        trained(
            folder / str(number),
            seed=number,
            fingerprint=f"{number:016x}",
            mlflow_run_id=f"{number:032x}",
            **{"val/acc": accuracy, "test/acc": None if accuracy is None else 1 - accuracy},
        )
        for number, accuracy in enumerate(accuracies)
    ]


@pytest.mark.ci
def test_a_run_is_the_file_of_its_weights(spec: Specs, tmp_path: Path) -> None:
    """However it is named, config and fingerprint are those of the file."""
    folder = Path("multirun/day/0")
    file = trained(folder)
    given = spec(f"teacher.checkpoint={file}")
    for word in (folder, f"{folder}/", tmp_path / folder, "day/0", ID, ID[:9], FINGERPRINT):
        named = spec(f"teacher.checkpoint={word}")
        assert Path(named.config.teacher.checkpoint or "").resolve() == file.resolve(), word
        assert named.fingerprint == given.fingerprint, word
    assert spec(f"teacher.checkpoint=runs:/{ID}").fingerprint == given.fingerprint
    assert named.config.teacher.checkpoint in named.config_yaml


@pytest.mark.slow
def test_it_is_accepted_wherever_a_file_is(spec: Specs) -> None:
    trained(Path("run"))
    keys = {
        "student.checkpoint": ["student=cnn", "student.model.width=4"],
        "teacher.members.second.checkpoint": [
            "teacher=ensemble",
            "teacher.members.second.model.width=4",
        ],
        "teacher.teacher.checkpoint": ["teacher=assistant", "teacher.teacher.model.width=4"],
        "teacher.peers.second.checkpoint": [
            "teacher=peers",
            "student=cnn",
            "student.model.width=4",
        ],
    }
    for key, words in keys.items():
        by_file = spec(*words, f"{key}=run/{WEIGHTS}")
        assert spec(*words, f"{key}=run").fingerprint == by_file.fingerprint
        assert by_file.fingerprint != spec(*words).fingerprint


def test_the_best_of_a_sweep_is_chosen_by_validation(
    spec: Specs, caplog: pytest.LogCaptureFixture
) -> None:
    _, best, _ = sweep(Path("multirun/a"), 0.5, 0.75, 0.25, parent_run_id="ab" * 16)
    trained(Path("multirun/a/3"), status="PRUNED", **{"val/acc": 0.9})
    caplog.set_level(logging.INFO)
    for word in ("multirun/a/best", "a/best", f"{'ab' * 16}/best", "multirun/a/best/"):
        assert spec(f"teacher.checkpoint={word}").config.teacher.checkpoint == str(best)
    line = "teacher.checkpoint: multirun/a/best is multirun/a/1, kl T=4 seed=1, val/acc 75.00%"
    assert caplog.messages.count(line) == 1


@pytest.mark.ci
def test_a_sweep_that_has_no_best_run(spec: Specs) -> None:
    sweep(Path("multirun/blind"), None, None)
    assert refused(spec, "teacher.checkpoint=multirun/blind/best") == (
        "teacher.checkpoint must be a sweep with validation, by which its best run is chosen, got"
        " multirun/blind, which has none; name a run, multirun/blind/0"
    )
    sweep(Path("multirun/new"))
    assert refused(spec, "teacher.checkpoint=new/best").endswith("got multirun/new, which has none")
    assert refused(spec, "teacher.checkpoint=nowhere/best") == (
        "teacher.checkpoint must be SWEEP/best with the folder of a sweep, its name under multirun/"
        " or the id of its run in MLflow, got nowhere/best"
    )


def test_a_sweep_itself_is_a_run_only_if_it_has_one(spec: Specs) -> None:
    (only,) = sweep(Path("multirun/one"), 0.5)
    assert spec("teacher.checkpoint=multirun/one").config.teacher.checkpoint == str(only)
    sweep(Path("multirun/two"), 0.5, 0.6, parent_run_id=ID)
    for word in ("multirun/two", ID):
        assert refused(spec, f"teacher.checkpoint={word}") == (
            "teacher.checkpoint must be a single run, got multirun/two, a sweep of 2;"
            " multirun/two/best is the best by validation"
        )


def test_a_run_of_another_network_is_one_sentence(spec: Specs) -> None:
    trained(Path("run"), width=8)
    assert refused(spec, "teacher.checkpoint=run") == (
        "teacher.model must be the network of the run that teacher.checkpoint names, which has"
        " width=8 (run), got width=4"
    )
    sentence = refused(spec, "student.checkpoint=run")
    assert sentence.startswith("student.model must be the network of the run that student.checkpo")
    assert "which is cnn (kdsweep.models.cnn.CNN) (run), got kdsweep.models.mlp.MLP" in (sentence)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda run: (run / RESULT).unlink(), "has not ended"),
        (lambda run: trained(run, status="KILLED"), "is KILLED"),
        (lambda run: (run / WEIGHTS).unlink(), f"has no {WEIGHTS}"),
        (lambda run: trained(run, weights_sha256="0"), f"has another {WEIGHTS} than it has tra"),
    ],
)
def test_a_run_without_its_final_weights(
    spec: Specs, change: Callable[[Path], object], problem: str
) -> None:
    trained(Path("run"))
    change(Path("run"))
    sentence = "teacher.checkpoint must be a finished run with its weights, got run, which "
    assert refused(spec, "teacher.checkpoint=run").startswith(f"{sentence}{problem}")


def test_a_folder_that_is_no_runs(spec: Specs) -> None:
    begin = "teacher.checkpoint must be a file of weights or a run, got some, a folder"
    Path("some").mkdir()
    assert refused(spec, "teacher.checkpoint=some") == (
        f"{begin} without a result.json and without a file of weights"
    )
    trained(Path("some/seed-0"))
    assert refused(spec, "teacher.checkpoint=some") == f"{begin}; name a run in it: seed-0"
    for name in ("b.pt", "a.safetensors"):
        Path("some", name).touch()
    assert refused(spec, "teacher.checkpoint=some") == (
        f"{begin}; name a file in it: a.safetensors, b.pt"
    )


def test_what_names_nothing_is_refused_for_every_key_at_once(spec: Specs) -> None:
    lines = refused(spec, "teacher.checkpoint=no.pt", "student.checkpoint=abcdef", "T=0")
    student, teacher, value = lines.splitlines()
    assert student.startswith("student.checkpoint must be a file of weights or a run, got abcdef,")
    assert student.endswith("(tracking.uri=null: MLflow is not searched)")
    assert teacher == (
        "teacher.checkpoint must be a file of weights, got no.pt, which does not exist; a run's"
        " folder or id and SWEEP/best are allowed, too"
    )
    assert value.startswith("T must be ")


def test_a_name_that_no_file_can_have(spec: Specs) -> None:
    word = 300 * "a" + ".pt"
    assert refused(spec, f"teacher.checkpoint={word}") == (
        f"teacher.checkpoint must be a file of weights or a run, got {word}, which cannot be read"
        " (File name too long)"
    )


def test_an_id_that_hydra_reads_as_a_number(spec: Specs) -> None:
    trained(Path("multirun/0"), mlflow_run_id=f"12e4{28 * '0'}")
    assert refused(spec, "teacher.checkpoint=12e4") == (
        "teacher.checkpoint must be a file of weights, got 120000.0, which does not exist; an id"
        " that is also a number, 12e4, needs quotes: 'teacher.checkpoint=\"12e4\"'"
    )
    given = spec("teacher.checkpoint='12e4'").config.teacher.checkpoint
    assert given == f"multirun/0/{WEIGHTS}"


def test_a_file_that_holds_no_weights_is_refused_before_any_data_is_read(spec: Specs) -> None:
    Path("model.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    words = ["dataset=image_folder", "dataset.root=nowhere", "teacher.checkpoint=model.pt"]
    assert refused(spec, *words) == (
        "teacher.checkpoint must be a file of weights, got model.pt, which is a git-lfs pointer,"
        " not the file itself; run `git lfs pull`"
    )


def test_parts_of_one_file_are_other_weights(spec: Specs) -> None:
    states = [CNN(in_shape=(1, 8, 8), num_classes=10, width=width).state_dict() for width in (4, 4)]
    torch.save(dict(zip(("state_dict", "state_dict_ema"), states, strict=True)), "model.pt")
    words = ("", ":state_dict", ":state_dict_ema")
    assert len({spec(f"teacher.checkpoint=model.pt{word}").fingerprint for word in words}) == 3


@pytest.mark.slow
def test_a_run_that_is_only_in_mlflow_is_downloaded(
    spec: Specs, tmp_path: Path, fresh_database: Path
) -> None:
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    uri = "sqlite:///mlflow.db"
    store = MLflowStore.open(uri, "kdsweep")
    tags = {"kdsweep.role": "run", "kdsweep.fingerprint": FINGERPRINT}
    run = store.create_run(name="kl", parent_id=None, tags=tags, params={})
    file = trained(Path("elsewhere"))
    given = spec(f"teacher.checkpoint={file}")
    store.log_artifact(run, file, "checkpoint")
    store.log_artifact(run, Path("elsewhere", CONFIG), "config")
    store.log_artifact(run, Path("elsewhere", RESULT))
    shutil.rmtree("elsewhere")
    words = [f"tracking.uri={uri}", "tracking.experiment=kdsweep", "teacher.store=own"]
    named = spec(*words, f"teacher.checkpoint={run}")
    assert named.config.teacher.checkpoint == f"own/downloads/{run}/{WEIGHTS}"
    assert named.fingerprint == given.fingerprint
    assert "must be the id of a run of the experiment, got abcdef" in refused(
        spec, *words, "teacher.checkpoint=abcdef"
    )
