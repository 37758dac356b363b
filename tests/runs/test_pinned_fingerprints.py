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
    "ce": (["loss=ce"], {"run": "ad96c15de7495d05"}),
    "kl": (["T=1"], {"run": "668ebce94feb1931", "teacher": "ba426d472177a70a"}),
    "fitnet": (
        ["loss=[kl,fitnet]", "student=cnn"],
        {"run": "ebf579e36d755165", "teacher": "ba426d472177a70a"},
    ),
    "crd": (
        ["loss=crd", "student=cnn"],
        {"run": "6cdfdaff269c6da4", "teacher": "ba426d472177a70a"},
    ),
    "peers": (
        ["teacher=peers", "student=cnn"],
        {"run": "ce6065a674305140", "peer second": "2cd9bd3bc801e812"},
    ),
    "online": (
        ["teacher.online=true", "student=cnn"],
        {"run": "f3c70bd2cda92966", "online": "629c0bbe62e5db79"},
    ),
    "assistant": (
        ["teacher=assistant", "student=cnn", "teacher.teacher.trainer.epochs=1"],
        {
            "run": "6e056320c81e9f49",
            "teacher": "70a8b1c7d6b9ed40",
            "teacher.teacher": "21c28dee6d473ab0",
        },
    ),
    "ensemble": (
        ["teacher=ensemble", "student=cnn"],
        {
            "run": "124d342ac7d3e6d1",
            "teacher.members.first": "ba426d472177a70a",
            "teacher.members.second": "e0cbae22ebf19915",
        },
    ),
    "born again": (
        ["teacher=born_again", "student=cnn", "teacher.trainer.epochs=1"],
        {"run": "c5cac3f6fabad839", "teacher": "d63267269c6729a9"},
    ),
    "stages": (
        ["stages=hints", "stages.hints.epochs=2", "student=cnn"],
        {"run": "0c5ac3b97e7fdf29", "teacher": "ba426d472177a70a", "stage 0": "b00d9d4fbbd78298"},
    ),
    "bf16": (
        ["trainer.precision=bf16", "student=cnn"],
        {"run": "fda38fcefb3af911", "teacher": "ba426d472177a70a"},
    ),
    "extra keys": (
        [
            *["+dataset.foo=3", "loss.kl.T=${dataset.foo}", "+trainer.bar=0.1"],
            *["optimizer.lr=${trainer.bar}", "+hard.baz=2", "hard_weight=${hard.baz}"],
            *["+student.x=4", "student.model.width=${student.x}", "+teacher.trainer.y=3"],
            *["teacher.model.width=${teacher.trainer.y}", "+z=0.3", "alpha=${z}"],
        ],
        {"run": "9e02dc83b9b663a0", "teacher": "2a7bb09acf43bfbe"},
    ),
    "peers with an extra key": (
        ["teacher=peers", "+temp=3", "loss.kl.T=${temp}", "student=cnn"],
        {"run": "4c96aa992706923a"},
    ),
    "assistant with extra keys": (
        [
            *["teacher=assistant", "+temp=3", "teacher.loss.kl.T=${temp}", "student=cnn"],
            *["+dataset.foo=3", "student.model.width=${dataset.foo}"],
        ],
        {"run": "46f0ebe1651c33e0", "teacher": "7bbb712a11d07b5b"},
    ),
    "online with extra keys": (
        [
            *["teacher.online=true", "student=cnn", "+dataset.foo=3", "+trainer.z=1"],
            *["student.model.width=${dataset.foo}", "T=${trainer.z}", "+teacher.trainer.y=3"],
            "teacher.model.width=${teacher.trainer.y}",
        ],
        {"run": "4149d46b642e2c89", "online": "2b74ce72aa5dbc74"},
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
