"""The identities of runs and searches, pinned: teachers, sweeps and searches are found by them.

A change here orphans every stored teacher and every sweep that could be resumed, and splits old
from new sweeps in reports. Where numbers are altered on purpose, `NUMERICS` is raised and this
table is made again. The weights of the same sweeps are compared by benchmarks/same_numbers.py.
"""

import pytest
from commands import Compose

from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec

SMALL = [
    *["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=160"],
    *["dataset.source.num_test=40", "trainer.epochs=2", "trainer.batch_size=32"],
    *["trainer.device=cpu", "teacher.trainer.device=cpu"],
]
# name: (overrides, the identities of the run and of those related to it)
RUNS = {
    "ce": (["loss=ce"], {"run": "2e702e784323ccb2"}),
    "kl": (["T=1"], {"run": "b3b9841a50767b39", "teacher": "33b18c06f74559bf"}),
    "fitnet": (
        ["loss=[kl,fitnet]", "student=cnn"],
        {"run": "245a7a186852ab6a", "teacher": "33b18c06f74559bf"},
    ),
    "crd": (
        ["loss=crd", "student=cnn"],
        {"run": "cff12f4ae5968bc7", "teacher": "33b18c06f74559bf"},
    ),
    "peers": (
        ["teacher=peers", "student=cnn"],
        {"run": "5325b0100d4ee7c8", "peer second": "309b8166bf205c5a"},
    ),
    "online": (
        ["teacher.online=true", "student=cnn"],
        {"run": "55530177a61cf224", "online": "4a4558dbbfc2dbac"},
    ),
    "assistant": (
        ["teacher=assistant", "student=cnn", "teacher.teacher.trainer.epochs=1"],
        {
            "run": "ec7abebf27d96ebf",
            "teacher": "1790afca8f1c574a",
            "teacher.teacher": "b53a0d9b3b6b3fb1",
        },
    ),
    "ensemble": (
        ["teacher=ensemble", "student=cnn"],
        {
            "run": "3916ed6d085eb3ef",
            "teacher.members.first": "33b18c06f74559bf",
            "teacher.members.second": "83206073eb9c4810",
        },
    ),
    "born again": (
        ["teacher=born_again", "student=cnn", "teacher.trainer.epochs=1"],
        {"run": "d40485b499df7588", "teacher": "2c4b49de5f0820a8"},
    ),
    "stages": (
        ["stages=hints", "stages.hints.epochs=2", "student=cnn"],
        {"run": "2a35f39004e33c72", "teacher": "33b18c06f74559bf", "stage 0": "ee142c8d1c329d5a"},
    ),
    "bf16": (
        ["trainer.precision=bf16", "student=cnn"],
        {"run": "e0ea60893af68cae", "teacher": "33b18c06f74559bf"},
    ),
    "extra keys": (
        [
            *["+dataset.foo=3", "loss.kl.T=${dataset.foo}", "+trainer.bar=0.1"],
            *["optimizer.lr=${trainer.bar}", "+hard.baz=2", "hard_weight=${hard.baz}"],
            *["+student.x=4", "student.model.width=${student.x}", "+teacher.trainer.y=3"],
            *["teacher.model.width=${teacher.trainer.y}", "+z=0.3", "alpha=${z}"],
        ],
        {"run": "9de66729d4348c84", "teacher": "6b5cbb308f8db9de"},
    ),
    "peers with an extra key": (
        ["teacher=peers", "+temp=3", "loss.kl.T=${temp}", "student=cnn"],
        {"run": "9cbf367ac37e5cdd"},
    ),
    "assistant with extra keys": (
        [
            *["teacher=assistant", "+temp=3", "teacher.loss.kl.T=${temp}", "student=cnn"],
            *["+dataset.foo=3", "student.model.width=${dataset.foo}"],
        ],
        {"run": "fd9fd6c8f591da92", "teacher": "8d5c55a3dc15cee7"},
    ),
    "online with extra keys": (
        [
            *["teacher.online=true", "student=cnn", "+dataset.foo=3", "+trainer.z=1"],
            *["student.model.width=${dataset.foo}", "T=${trainer.z}", "+teacher.trainer.y=3"],
            "teacher.model.width=${teacher.trainer.y}",
        ],
        {"run": "d7e93d49a95d39ae", "online": "cdad84558cb8c034"},
    ),
}


def identities(spec: RunSpec) -> dict[str, str]:
    """The fingerprints of a run and of all that it depends on."""
    found = {"run": spec.fingerprint}
    found |= {f"stage {depth}": stage.fingerprint for depth, stage in enumerate(spec.stages)}
    found |= {f"peer {name}": peer.fingerprint for name, peer in spec.peers.items()}
    if spec.online_teacher is not None:
        found["online"] = spec.online_teacher.fingerprint
    for teacher in spec.teachers:
        assert teacher.run is not None
        for below, fingerprint in identities(teacher.run).items():
            key = teacher.key if below == "run" else f"{teacher.key}.{below}"
            found[key] = fingerprint
    return found


@pytest.mark.parametrize(("words", "pinned"), RUNS.values(), ids=RUNS)
def test_fingerprints_are_pinned(
    compose: Compose, words: list[str], pinned: dict[str, str]
) -> None:
    (spec,) = build_specs([compose(*SMALL, *words)], [words], 0, [])
    found = identities(spec)
    extra = [word[1:].partition("=")[0].split(".")[-1] for word in words if word[0] == "+"]
    assert {key: found[key] for key in pinned} == pinned
    assert set(found) == set(pinned) or extra
    assert all(key in spec.config_yaml for key in extra)
