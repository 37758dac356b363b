"""The contract that carries the project: student i among N equals student i alone, bit for bit.

Alone means under Hydra's basic launcher: one process-wide pass per run, through the other door.
"""

import hashlib
from pathlib import Path

import pytest
from commands import Command
from outcomes import both, digests

Case = tuple[int, list[str]]  # number of runs, and what they differ by

IN_CI: list[Case] = [
    (4, ["T=1,16", "alpha=0.1,0.9"]),
    (
        2,
        [
            *("T=4", "student=cnn", "trainer.ema=null,0.9", "trainer.accumulate=2"),
            *("trainer.grad_clip=0.1", "trainer.decay_norms=false", "teacher.trainer.ema=0.9"),
        ],
    ),
]
SLOW: list[Case] = [
    (9, ["T=1,4,16", "alpha=0.1,0.5,0.9"]),
    (3, ["loss=ce,kl,[kl,fitnet]"]),
    (2, ["student=mlp,cnn"]),
    (2, ["student=mlp,cnn", "trainer.precision=bf16"]),
    (2, ["T=1,4", "student.model.dropout=0.5"]),
    (2, ["T=1,4", "trainer.precision=bf16", "student=cnn"]),
    (4, ["loss=dkd,[dist,mlkd],[nkd,mse_probs],srd"]),
    (2, ["loss=kl,mlkd", "student=cnn", "dataset.augment.strong_view=2"]),
    (2, ["loss.kl.schedule={warmup:2},{until:1}", "loss.kl.standardize=true"]),
    (
        4,
        [
            "student=cnn",
            "student.model.width=4",  # as the teacher's: fsp compares channel by channel
            "loss=[at,nst,sp,vid,ab],[rkd,pkt,cc,ft,cosine],[ofd,fsp,review],[crd,kl]",
        ],
    ),
    (2, ["student=cnn", "student.model.width=4", "loss=[ickd,kdsvd],[pad,wttm,tfkd]"]),
    (2, ["optimizer=adam,sgd", "schedule=cosine", "schedule.warmup_epochs=1"]),
    (4, ["loss=ctkd,[ctkd,mse]", "optimizer=dot,sgd"]),
    (4, ["T=1,4", "seed=0,1"]),
    (
        3,
        [
            *("student=vit_tiny_distilled", "student.model.width=12", "student.model.depth=3"),
            "student.features.maps=[blocks.0,blocks.2]",
            "student.drop_path=0.2",
            "loss=ofa,deit,[kl,deit]",
        ],
    ),
    (2, ["loss=[kl,fitnet]", "T=1,4", "student=cnn", "trainer.compile=true"]),
    (
        2,
        [
            *("T=1,4", "dataset.source.shape=[3,32,32]", "student=timm"),
            *("student.model.name=test_vit", "student.drop_path=0.5"),
        ],
    ),
    (
        2,
        [
            *("T=1,4", "dataset.source.shape=[3,32,32]", "student=torchvision"),
            *("student.model.name=efficientnet_b0", "student.drop_path=0.5"),
            "trainer.epochs=1",
        ],
    ),
    (
        2,
        [
            *("teacher=vit_tiny_distilled", "teacher.model.width=12", "teacher.model.depth=2"),
            *("teacher.features.maps=[blocks.1]", "student=cnn", "loss=kl,ofa"),
        ],
    ),
]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        *(pytest.param(*case, marks=pytest.mark.ci) for case in IN_CI),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    ],
)
def test_lockstep_gives_the_bits_of_separate_runs(
    command: Command, runs: int, words: list[str]
) -> None:
    together, alone = both(command, *words)
    assert len(together) == runs
    assert together == alone


@pytest.mark.slow
def test_equal_runs_leave_equal_files(command: Command) -> None:
    """Byte for byte: what the run and its stage have learned, answers, and the teacher's."""
    words = ["stages=factors", "stages.factors.epochs=1", "loss=ft", "loss.ft.learns=translator"]
    student = ["student=cnn", "student.model.width=4", "trainer.epochs=1"]
    first = files(command(*words, *student, "hydra.sweep.dir=multirun/first").sweep)
    again = files(command(*words, *student, "hydra.sweep.dir=multirun/again").sweep)
    kinds = {Path(name).name for name in first}
    assert {"model.safetensors", "terms.safetensors", "answers.safetensors"} < kinds
    assert again == first


def files(sweep: Path) -> dict[str, str]:
    """The safetensors files of a sweep -> their digests."""
    return {
        path.relative_to(sweep).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sweep.rglob("*.safetensors")
    }


@pytest.mark.slow
def test_the_order_of_the_neighbours_does_not_matter(command: Command) -> None:
    forward = digests(command("T=1,4,16"))
    assert digests(command("T=16,4,1")) == forward


@pytest.mark.slow
def test_a_diverging_neighbour_changes_nothing(command: Command) -> None:
    words = ["optimizer=sgd", "student.model.width=8"]
    calm = digests(command("optimizer.lr=0.05,0.01", *words))
    stormy = command("optimizer.lr=0.05,1e6,0.01", *words)
    assert stormy.code == 1
    rows = {row["name"]: row for row in stormy.rows}
    (failed,) = [row for row in rows.values() if row["status"] == "FAILED"]
    assert "lr=1e6" in failed["name"] or "1000000" in failed["name"]
    assert "non-finite" in failed["reason"]
    survivors = {n: r["weights_sha256"] for n, r in rows.items() if r["status"] == "FINISHED"}
    assert survivors == calm
    assert "Traceback" not in stormy.err


@pytest.mark.slow
def test_a_limited_cohort_gives_the_same_bits(command: Command) -> None:
    whole = digests(command("T=1,2,4,8"))
    assert digests(command("T=1,2,4,8", "hydra.launcher.cohort_size=3")) == whole


@pytest.mark.slow
def test_processes_of_joblib_give_the_same_bits(command: Command) -> None:
    together = digests(command("T=1,4", "alpha=0.1,0.9"))
    apart = command(
        "T=1,4", "alpha=0.1,0.9", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", tracking=True
    )
    assert digests(apart) == together
    assert len({row["mlflow_run_id"] for row in apart.rows} - {None}) == 4
