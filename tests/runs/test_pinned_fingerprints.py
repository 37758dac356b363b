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
    "ce": (["loss=ce"], {"run": "9dd757069a22ff55"}),
    "kl": (["T=1"], {"run": "98e80360149ea519", "teacher": "60c7a82a70802631"}),
    "fitnet": (
        ["loss=[kl,fitnet]", "student=cnn"],
        {"run": "a8f94e69f6a9c089", "teacher": "60c7a82a70802631"},
    ),
    "crd": (
        ["loss=crd", "student=cnn"],
        {"run": "e63dbc5092ff0b98", "teacher": "60c7a82a70802631"},
    ),
    "peers": (
        ["teacher=peers", "student=cnn"],
        {"run": "983bb3463cc7fd86", "peer second": "bd94f2aa07458d27"},
    ),
    "online": (
        ["teacher.online=true", "student=cnn"],
        {"run": "0abb3e0fdd9812a0", "online": "5a0b54b4a18ed7b2"},
    ),
    "assistant": (
        ["teacher=assistant", "student=cnn", "teacher.teacher.trainer.epochs=1"],
        {
            "run": "6267b3fe99667629",
            "teacher": "be37c460f939c351",
            "teacher.teacher": "e469d1b5dd48f731",
        },
    ),
    "ensemble": (
        ["teacher=ensemble", "student=cnn"],
        {
            "run": "e059029ca1019008",
            "teacher.members.first": "60c7a82a70802631",
            "teacher.members.second": "5bf4eb54b9b81212",
        },
    ),
    "born again": (
        ["teacher=born_again", "student=cnn", "teacher.trainer.epochs=1"],
        {"run": "042d530f34c0d0d0", "teacher": "3d7a46fffe5cfed7"},
    ),
    "stages": (
        ["stages=hints", "stages.hints.epochs=2", "student=cnn"],
        {"run": "028229fd06a0caf8", "teacher": "60c7a82a70802631", "stage 0": "0fe15e3a752d18b4"},
    ),
    "bf16": (
        ["trainer.precision=bf16", "student=cnn"],
        {"run": "00976340da4dd46d", "teacher": "60c7a82a70802631"},
    ),
    "extra keys": (
        [
            *["+dataset.foo=3", "loss.kl.T=${dataset.foo}", "+trainer.bar=0.1"],
            *["optimizer.lr=${trainer.bar}", "+hard.baz=2", "hard_weight=${hard.baz}"],
            *["+student.x=4", "student.model.width=${student.x}", "+teacher.trainer.y=3"],
            *["teacher.model.width=${teacher.trainer.y}", "+z=0.3", "alpha=${z}"],
        ],
        {"run": "2d0809dd27665629", "teacher": "1e1cc62d9b39e0b9"},
    ),
    "peers with an extra key": (
        ["teacher=peers", "+temp=3", "loss.kl.T=${temp}", "student=cnn"],
        {"run": "e546f2c57b9c2177"},
    ),
    "assistant with extra keys": (
        [
            *["teacher=assistant", "+temp=3", "teacher.loss.kl.T=${temp}", "student=cnn"],
            *["+dataset.foo=3", "student.model.width=${dataset.foo}"],
        ],
        {"run": "55cc183e2e17a2e0", "teacher": "6932d1e5d44172f6"},
    ),
    "online with extra keys": (
        [
            *["teacher.online=true", "student=cnn", "+dataset.foo=3", "+trainer.z=1"],
            *["student.model.width=${dataset.foo}", "T=${trainer.z}", "+teacher.trainer.y=3"],
            "teacher.model.width=${teacher.trainer.y}",
        ],
        {"run": "4d054af234378800", "online": "3cb8d2703ff0f8ba"},
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
