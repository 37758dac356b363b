"""The identities of runs and searches, pinned: teachers, sweeps and searches are found by them.

A change here orphans every stored teacher and every sweep that could be resumed, and splits old
from new sweeps in reports. Where numbers are altered on purpose, `NUMERICS` is raised and this
table is made again. The weights of the same sweeps are compared by benchmarks/same_numbers.py.
"""

import pytest
from commands import Compose

from kdsweep.config.recipes import teachers
from kdsweep.plan import make_plans, online_plan, peer_plans, stages_of, teacher_plan

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
}


def identities(compose: Compose, words: list[str]) -> dict[str, str | None]:
    (plan,) = make_plans([compose(*SMALL, *words)], [words], 0, [])
    found: dict[str, str | None] = {"run": plan.fingerprint}
    for key, values in teachers(plan.values).items() if plan.teacher else ():
        while True:
            found[key] = teacher_plan(values, plan.digests).fingerprint
            if values["teacher"]["teacher"] is None:
                break
            key, values = f"{key}.teacher", {**values, "teacher": values["teacher"]["teacher"]}
    found |= {f"stage {i}": one.fingerprint for i, one in enumerate(stages_of(plan))}
    if (online := online_plan(plan)) is not None:
        found["online"] = online.fingerprint
    found |= {f"peer {name}": one.fingerprint for name, one in peer_plans(plan).items()}
    return found


@pytest.mark.parametrize(("words", "pinned"), RUNS.values(), ids=RUNS)
def test_fingerprints_are_pinned(
    compose: Compose, words: list[str], pinned: dict[str, str]
) -> None:
    assert identities(compose, words) == pinned
