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
    "ce": (["loss=ce"], {"run": "a11b5dc859fa8535"}),
    "kl": (["T=1"], {"run": "7a6d6b3c4e026e7b", "teacher": "eba8db06af22974f"}),
    "fitnet": (
        ["loss=[kl,fitnet]", "student=cnn"],
        {"run": "21af7db2bc12f70d", "teacher": "eba8db06af22974f"},
    ),
    "crd": (
        ["loss=crd", "student=cnn"],
        {"run": "bbbd3e2494bb105d", "teacher": "eba8db06af22974f"},
    ),
    "peers": (
        ["teacher=peers", "student=cnn"],
        {"run": "9db115da1cb6a22e", "peer second": "f8179c74db382d13"},
    ),
    "online": (
        ["teacher.online=true", "student=cnn"],
        {"run": "a50a6ef444d5fe21", "online": "9c1c3c50e20a789c"},
    ),
    "assistant": (
        ["teacher=assistant", "student=cnn", "teacher.teacher.trainer.epochs=1"],
        {
            "run": "eb4c659e7f0f33b3",
            "teacher": "f1e5907e22d40c78",
            "teacher.teacher": "c2aaab13cda1c71b",
        },
    ),
    "ensemble": (
        ["teacher=ensemble", "student=cnn"],
        {
            "run": "026c4f7edb5748ad",
            "teacher.members.first": "eba8db06af22974f",
            "teacher.members.second": "325b61bbaa7f0d23",
        },
    ),
    "born again": (
        ["teacher=born_again", "student=cnn", "teacher.trainer.epochs=1"],
        {"run": "139befc4431d8d00", "teacher": "d6610112c830d979"},
    ),
    "stages": (
        ["stages=hints", "stages.hints.epochs=2", "student=cnn"],
        {"run": "b4a8300b234d613c", "teacher": "eba8db06af22974f", "stage 0": "43f6788e5f7ee4f2"},
    ),
    "bf16": (
        ["trainer.precision=bf16", "student=cnn"],
        {"run": "90e29c2bbfd1ae14", "teacher": "eba8db06af22974f"},
    ),
    "extra keys": (
        [
            *["+dataset.foo=3", "loss.kl.T=${dataset.foo}", "+trainer.bar=0.1"],
            *["optimizer.lr=${trainer.bar}", "+hard.baz=2", "hard_weight=${hard.baz}"],
            *["+student.x=4", "student.model.width=${student.x}", "+teacher.trainer.y=3"],
            *["teacher.model.width=${teacher.trainer.y}", "+z=0.3", "alpha=${z}"],
        ],
        {"run": "879629f42ee0c82e", "teacher": "a447e3170d71eaa1"},
    ),
    "peers with an extra key": (
        ["teacher=peers", "+temp=3", "loss.kl.T=${temp}", "student=cnn"],
        {"run": "75a38221168868e5"},
    ),
    "assistant with extra keys": (
        [
            *["teacher=assistant", "+temp=3", "teacher.loss.kl.T=${temp}", "student=cnn"],
            *["+dataset.foo=3", "student.model.width=${dataset.foo}"],
        ],
        {"run": "ad4af050bcd9a81b", "teacher": "964c58bcd546b340"},
    ),
    "online with extra keys": (
        [
            *["teacher.online=true", "student=cnn", "+dataset.foo=3", "+trainer.z=1"],
            *["student.model.width=${dataset.foo}", "T=${trainer.z}", "+teacher.trainer.y=3"],
            "teacher.model.width=${teacher.trainer.y}",
        ],
        {"run": "b7fee55159e0157b", "online": "4b07334801ced56a"},
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
