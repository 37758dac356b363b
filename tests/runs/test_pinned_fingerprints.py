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
    "ce": (["loss=ce"], {"run": "a07e4797299c24de"}),
    "kl": (["T=1"], {"run": "7b75c2c9f841a04e", "teacher": "2716dfd778b03322"}),
    "fitnet": (
        ["loss=[kl,fitnet]", "student=cnn"],
        {"run": "1538f8e06e5218e6", "teacher": "2716dfd778b03322"},
    ),
    "crd": (
        ["loss=crd", "student=cnn"],
        {"run": "8454f4867a016749", "teacher": "2716dfd778b03322"},
    ),
    "peers": (
        ["teacher=peers", "student=cnn"],
        {"run": "7bcc97be58d32c86", "peer second": "3daee38d00bec215"},
    ),
    "online": (
        ["teacher.online=true", "student=cnn"],
        {"run": "1a4bd47ad5bf7b1d", "online": "1be3802accf9e9b7"},
    ),
    "assistant": (
        ["teacher=assistant", "student=cnn", "teacher.teacher.trainer.epochs=1"],
        {
            "run": "21b9c9e8be0188ed",
            "teacher": "ed5828cbc3a61cf5",
            "teacher.teacher": "1908fbf489115247",
        },
    ),
    "ensemble": (
        ["teacher=ensemble", "student=cnn"],
        {
            "run": "d129f50c06e6e2f9",
            "teacher.members.first": "2716dfd778b03322",
            "teacher.members.second": "27d1347f73f66969",
        },
    ),
    "born again": (
        ["teacher=born_again", "student=cnn", "teacher.trainer.epochs=1"],
        {"run": "c867b50c697df693", "teacher": "8a9e88fcce2b4a61"},
    ),
    "stages": (
        ["stages=hints", "stages.hints.epochs=2", "student=cnn"],
        {"run": "7e661b159d0589ae", "teacher": "2716dfd778b03322", "stage 0": "3d639e93c8e8cd36"},
    ),
    "bf16": (
        ["trainer.precision=bf16", "student=cnn"],
        {"run": "9c9f3eb99ab4c7f5", "teacher": "2716dfd778b03322"},
    ),
    "extra keys": (
        [
            *["+dataset.foo=3", "loss.kl.T=${dataset.foo}", "+trainer.bar=0.1"],
            *["optimizer.lr=${trainer.bar}", "+hard.baz=2", "hard_weight=${hard.baz}"],
            *["+student.x=4", "student.model.width=${student.x}", "+teacher.trainer.y=3"],
            *["teacher.model.width=${teacher.trainer.y}", "+z=0.3", "alpha=${z}"],
        ],
        {"run": "1a1dc52b3869c1e8", "teacher": "2eecb66c6d10a2a5"},
    ),
    "peers with an extra key": (
        ["teacher=peers", "+temp=3", "loss.kl.T=${temp}", "student=cnn"],
        {"run": "3090d4b6e2adba71"},
    ),
    "assistant with extra keys": (
        [
            *["teacher=assistant", "+temp=3", "teacher.loss.kl.T=${temp}", "student=cnn"],
            *["+dataset.foo=3", "student.model.width=${dataset.foo}"],
        ],
        {"run": "a3b605c4bb6e1e5b", "teacher": "27da4b2388eccf2d"},
    ),
    "online with extra keys": (
        [
            *["teacher.online=true", "student=cnn", "+dataset.foo=3", "+trainer.z=1"],
            *["student.model.width=${dataset.foo}", "T=${trainer.z}", "+teacher.trainer.y=3"],
            "teacher.model.width=${teacher.trainer.y}",
        ],
        {"run": "517a30b02422dd2a", "online": "4ee5c63244a648a5"},
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
