"""What is read of the run that is trained again: the very same run, from its folder alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Compose
from PIL import Image

from kdsweep.common.files import write_json_atomic, write_text_atomic
from kdsweep.config.run_config import derived_values
from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.rerun.conditions import conditions
from kdsweep.sweeps.rerun.original import read_original, spec_of
from kdsweep.tracking.result import RunResult

SMALL = [
    *["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=160"],
    *["dataset.source.num_test=40", "trainer.epochs=2", "trainer.device=cpu"],
    "teacher.trainer.device=cpu",
]
CNN = "student=cnn"


@pytest.fixture(scope="module")
def spec(compose: Compose) -> RunSpec:
    """The spec of a run without a teacher."""
    return build_specs([compose(*SMALL, "loss=ce")], [[]], 0, [])[0]


def recorded(folder: Path, spec: RunSpec, **changes: object) -> Path:
    """The folder of a run as it is once the run has finished, without what it has measured."""
    folder.mkdir(exist_ok=True)
    write_text_atomic(folder / "config.yaml", spec.config_yaml)
    write_text_atomic(folder / "overrides.yaml", '- "T=1"\n')
    result = RunResult(
        status="FINISHED",
        role="run",
        name=spec.name,
        fingerprint=spec.fingerprint,
        cell=spec.cell.name,
        weights_sha256="0" * 64,
        T=spec.cell.T,
        alpha=spec.cell.alpha,
        provenance={
            "environment": {"torch": "1.0"},
            "inputs": {"dataset": spec.digests["dataset"]},
            "derived": derived_values(spec.config),
        },
    )
    write_json_atomic(folder / "result.json", replace(result, **changes).to_json())
    return folder


def related(spec: RunSpec) -> dict[str, str]:
    """The fingerprint of a run, and of all that it depends on."""
    below = {
        **{teacher.key: teacher.run for teacher in spec.teachers},
        **{f"peer {name}": peer for name, peer in spec.peers.items()},
        "online": spec.online_teacher,
        "stage": spec.stage,
    }
    found = {"run": spec.fingerprint, "name": spec.name}
    for key, one in below.items():
        if one is not None:
            found |= {f"{key}.{name}": value for name, value in related(one).items()}
    return found


IN_CI = {
    "a weight that is not alpha": ["T=1", "loss.kl.weight=0.5", "alpha=0.9"],
    "stages": ["stages=[hints,flow]", CNN, "loss=[kl,crd]"],
}
SLOW = {
    "ce": ["loss=ce"],
    "peers": ["teacher=peers", CNN, "+student@teacher.peers.third=cnn"],
    "ensemble": ["teacher=ensemble", CNN],
    "several terms": ["loss=[kl,fitnet]", CNN, "alpha=0.25", "hard_weight=0.1"],
    "online": ["teacher.online=true", CNN],
    "assistant": ["teacher=assistant", CNN],
    "born again": ["teacher=born_again", CNN],
    "an added key": ["+warm=3", "T=${warm}"],
}


@pytest.mark.ci
@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(words, id=kind) for kind, words in IN_CI.items()),
        *(pytest.param(words, id=kind, marks=pytest.mark.slow) for kind, words in SLOW.items()),
    ],
)
def test_the_spec_of_a_recorded_run_is_the_same(
    compose: Compose, tmp_path: Path, words: list[str]
) -> None:
    (spec,) = build_specs([compose(*SMALL, *words)], [words], 0, [])
    for changes in ({}, {"provenance": None}):  # which runs of earlier versions have not
        again = spec_of(read_original(recorded(tmp_path, spec, **changes)))
        assert related(again) == related(spec)
        assert again.config == spec.config
        assert again.config_yaml == spec.config_yaml
        assert again.overrides == ("T=1",)


@pytest.mark.ci
@pytest.mark.parametrize("weight", ["0.5", "${alpha}"])
def test_a_weight_that_happens_to_be_alpha_is_found_by_the_fingerprint(
    compose: Compose, tmp_path: Path, weight: str
) -> None:
    (spec,) = build_specs([compose(*SMALL, f"loss.kl.weight={weight}")], [[]], 0, [])
    again = spec_of(read_original(recorded(tmp_path, spec, provenance=None)))
    assert again.config.alpha_weighted == (weight == "${alpha}")


def test_what_has_changed_since_is_listed(spec: RunSpec, tmp_path: Path) -> None:
    folder = recorded(tmp_path, spec)
    result = json.loads((folder / "result.json").read_text())
    result["provenance"]["inputs"]["dataset"] = "f" * 64
    write_json_atomic(folder / "result.json", result)
    text = (folder / "config.yaml").read_text()
    write_text_atomic(folder / "config.yaml", text.replace("batch_size: 64", "batch_size: 32"))
    original = read_original(folder)
    found = {one.name: one for one in conditions(original, spec_of(original))}
    assert found["fingerprint"].differs
    assert (found["data"].recorded, found["data"].differs) == ("f" * 16, True)
    assert (found["torch"].recorded, found["torch"].differs) == ("1.0", True)
    assert found["numpy"].recorded is None  # it is not known whether it is the same
    assert not found["numpy"].is_same
    assert not found["numpy"].differs
    assert {"kdsweep", "commit", "python", "torchvision", "device", "threads"} <= found.keys()


def test_the_digest_of_the_data_is_known_of_runs_of_earlier_versions(
    spec: RunSpec, tmp_path: Path
) -> None:
    folder = recorded(tmp_path, spec, provenance=None)
    digest = spec.digests["dataset"][:16]
    write_json_atomic(folder / "run.json", {"params": {}, "dataset": {"digest": digest}})
    original = read_original(folder)
    found = {one.name: one for one in conditions(original, spec_of(original))}
    assert found["fingerprint"].is_same
    assert found["data"].is_same
    assert found["torch"].recorded is None


def test_other_images_below_the_same_root_are_other_data(compose: Compose, tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "photos" / "train" / ("cats", "dogs")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (2 * number, number, 255 - number)).save(path)
    words = ["dataset=image_folder", f"dataset.root={tmp_path}/photos"]
    (spec,) = build_specs([compose(*words, "loss=ce", "dataset.test_fraction=0.2")], [[]], 0, [])
    original = read_original(recorded(tmp_path / "run", spec))
    Image.new("RGB", (8, 8)).save(path)
    found = {one.name: one for one in conditions(original, spec_of(original)) if one.differs}
    assert found.keys() - {"torch"} == {"fingerprint", "data"}


OLD = Path(__file__).parents[1] / "old_sweep" / "runs" / "0"


def test_a_run_that_an_earlier_version_recorded_is_the_same_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kdsweep.runs.fingerprint.NUMERICS", 5)  # of that version
    original = read_original(OLD)
    assert spec_of(original).fingerprint == original.result.fingerprint


def test_a_run_of_other_numbers_can_be_trained_again_as_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kdsweep.runs.fingerprint.NUMERICS", 6)
    original = read_original(OLD)
    (fingerprint, *_) = conditions(original, spec_of(original))
    assert fingerprint.name == "fingerprint"
    assert fingerprint.differs


REFUSED = {
    "failed": (
        {"status": "FAILED", "reason": "nan"},
        "that has finished, got {}, which is FAILED (nan)",
    ),
    "pruned": ({"status": "PRUNED"}, "that has finished, got {}, which is PRUNED"),
    "peer": ({"role": "peer"}, "trained on its own, got {}, a peer, which is trained together"),
    "online": (
        {"role": "teacher", "provenance": {"derived": {"beside": "teacher"}}},
        "trained on its own, got {}, an online teacher, which is trained together",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_runs_that_cannot_be_trained_again_are_refused(
    spec: RunSpec, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = recorded(tmp_path, spec, **changes)
    with pytest.raises(UserError) as caught:
        read_original(folder)
    assert message.format(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


DAMAGED = {
    "damaged": ("[", "RUN must be a run with its config, got {}, whose config.yaml is missing"),
    "another type": (
        "tracking: {}\ntrainer: {epochs: many}\n",
        "RUN must be a run with a valid config, got {}/config.yaml in trainer.epochs: Value 'many'",
    ),
    "no mapping": (
        "tracking: {}\ndataset: 3\n",
        "RUN must be a run with a valid config, got {}/config.yaml: Merge error",
    ),
    "out of range": (None, "trainer.epochs must be at least 1, got 0"),
}


@pytest.mark.parametrize(("text", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_config_that_cannot_be_used_is_refused(
    spec: RunSpec, tmp_path: Path, text: str | None, message: str
) -> None:
    folder = recorded(tmp_path, spec)
    text = text or spec.config_yaml.replace("epochs: 2", "epochs: 0")
    write_text_atomic(folder / "config.yaml", text)
    with pytest.raises(UserError) as caught:
        spec_of(read_original(folder))
    assert message.format(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_without_its_files_is_refused(spec: RunSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"that has finished, got .*, which has no result"):
        read_original(tmp_path)
    (recorded(tmp_path, spec) / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"whose config.yaml is missing or damaged"):
        read_original(tmp_path)
