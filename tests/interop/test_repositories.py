"""`kdsweep weights`: its overrides give the total loss of the other repository."""

import shlex

import pytest
import torch
from click.testing import Result
from commands import Compose
from typer.testing import CliRunner

from kdsweep.builders.losses import build_objective
from kdsweep.cli import app
from kdsweep.common.types import Batch, Output
from kdsweep.config.resolve import resolve_config
from kdsweep.interop.mdistiller import METHODS
from kdsweep.interop.repdistiller import FEATURE_TERMS
from kdsweep.interop.repositories import REPOSITORIES
from kdsweep.losses.base.objective import Objective


def weights(*words: str) -> Result:
    return CliRunner().invoke(app, ["weights", "--from", *words])


def line_of(*words: str) -> str:
    """The overrides, without the notes under them."""
    answer = weights(*words)
    assert answer.exit_code == 0, answer.output
    return answer.stdout.splitlines()[0]


def objective_of(line: str, compose: Compose) -> Objective:
    """What train.py would build from these words; the cnn has features for every term."""
    return build_objective(resolve_config(compose("student=cnn", *shlex.split(line))))


def golden_inputs() -> tuple[Output, Output, Batch]:
    """As in tests/losses: other repositories' own code has produced the totals from them."""
    i, j = (
        axis.double() for axis in torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    )
    student, teacher = 3 * torch.sin(0.7 * i + 1.3 * j + 0.5), 4 * torch.cos(0.4 * i + 0.9 * j)
    batch = Batch(torch.zeros(4, 1, 2, 2), torch.tensor([0, 3, 1, 4]), torch.arange(4))
    return Output(student, {}), Output(teacher, {}), batch


CE, KL4 = 2.8682351622, 1.0234471137
KL1, KL2 = 0.5683114788, 0.8704655755
KL2_STANDARDIZED = 0.1198355187

TOTALS = [
    ("repdistiller --gamma .1 --alpha .9 --beta 0 --kd_T 4 --distill kd", 1.2079259185),
    ("repdistiller -r 0.1 -a 0.9 -b 0", 1.2079259185),
    ("torchdistill alpha=0.9 temperature=4", 2.6837563573),
    ("torchdistill alpha=0.5 temperature=4", 1.9458411379),
    ("torchdistill alpha=0 temperature=4", 0.0639654446),
    ("torchdistill beta=1 temperature=4", 0.0639654446),
    ("torchdistill key=LogitStdKDLoss alpha=0.1 beta=9 temperature=2", 1.3653431841),
    ("mdistiller KD.LOSS.CE_WEIGHT 0.1 KD.LOSS.KD_WEIGHT 0.9 KD.TEMPERATURE 4", 1.2079259185),
    ("mdistiller", 1.2079259185),
    ("timm task_loss_weight=0.1 kd_temperature=4", 1.2079259185),
    ("timm --task-loss-weight 0.1 --kd-temperature 4", 1.2079259185),
    ("timm distill_loss_weight=0.9 temperature=4", CE + 0.9 * KL4),
    ("timm", CE + KL4),
    ("kd-pytorch alpha=0.5 T=4 kd_mode=cse", 13.1396538829),
    ("kd-pytorch --alpha 0.5 --T 4 --kd_mode mse", 1.4599348700),
    ("kd_lib", 1.4754110560),
    ("kd_lib temp=20 distil_weight=0.5", 1.4754110560),
    ("distiller --kd-temp 4 --kd-dw 0.9 --kd-student-wt 0.1", 1.2079259185),
    ("mmrazor tau=1 loss_weight=3", CE + 3 * KL1),
    ("modelopt kd_loss_weight=0.9 temperature=4", 1.2079259185),
    ("logit-standardization-kd", 0.1 * CE + 9 * KL2),
    ("logit-standardization-kd --logit-stand", 0.1 * CE + 9 * KL2_STANDARDIZED),
]


@pytest.mark.parametrize(("words", "total"), TOTALS)
def test_the_overrides_give_the_total_of_the_other_repository(
    compose: Compose, words: str, total: float
) -> None:
    objective = objective_of(line_of(*shlex.split(words)), compose)
    assert objective(*golden_inputs())[0].item() == pytest.approx(total, abs=2e-9)


def test_every_repository_has_a_total() -> None:
    assert {words.split()[0] for words, _ in TOTALS} == set(REPOSITORIES)


def test_decoupled_distillation_keeps_its_warm_up(compose: Compose) -> None:
    line = line_of("mdistiller", "DKD.ALPHA", "1", "DKD.BETA", "2", "DKD.T", "4")
    objective = objective_of(line, compose)
    for epoch, share in [(0, 1 / 20), (9, 0.5), (30, 1.0)]:
        total = objective(*golden_inputs(), epoch=epoch).total
        assert total.item() == pytest.approx(CE + share * 1.9183912318, abs=1e-8)


HINT = ["repdistiller", "--distill", "hint", "--gamma", "1", "--beta", "0.8"]


@pytest.mark.parametrize("distill", [name for name, term in FEATURE_TERMS.items() if term])
def test_a_feature_term_of_repdistiller_gets_beta(distill: str) -> None:
    words, term = ["repdistiller", "--distill", distill, *HINT[3:]], FEATURE_TERMS[distill]
    both = shlex.split(line_of(*words, "--alpha", "0.5", "--kd_T", "2"))
    weights = ["loss.kl.weight=0.5", f"loss.{term}.weight=0.8", "hard_weight=1"]
    assert both[:5] == [f"loss=[kl,{term}]", "T=2", *weights]
    alone = shlex.split(line_of(*words, "--alpha", "0"))
    assert alone[:3] == [f"loss={term}", f"loss.{term}.weight=0.8", "hard_weight=1"]


@pytest.mark.ci
def test_a_feature_term_of_repdistiller_is_weighed_with_kl_or_alone(compose: Compose) -> None:
    both = objective_of(line_of(*HINT, "--alpha", "0.5", "--kd_T", "2"), compose)
    assert both.weights == {"ce": 1.0, "kl": 0.5, "fitnet": 0.8}
    assert both.terms["kl"].T == 2.0
    alone = objective_of(line_of(*HINT, "-a", "0"), compose)
    assert alone.weights == {"ce": 1.0, "fitnet": 0.8}


@pytest.mark.parametrize("method", METHODS)
def test_the_defaults_of_mdistiller_are_taken_in(compose: Compose, method: str) -> None:
    objective = objective_of(line_of("mdistiller", f"DISTILLER.TYPE={method}"), compose)
    term, overrides, *_ = METHODS[method]
    assert list(objective.terms) == ([] if term == "ce" else [term])
    hard = [kept for template, kept in overrides.values() if template == "hard_weight={}"]
    assert objective.weights["ce"] == (hard[0] if hard else 1.0)


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("torchdistill alpha=0 temperature=4", "leaves T^2 and beta out when alpha is 0"),
        ("torchdistill alpha=0.9 temperature=4", "alpha weighs the hard part"),
        ("timm task_loss_weight=0.3", "takes 1 - task_loss_weight"),
        ("mdistiller DISTILLER.TYPE=VID", "does not train the variances"),
        ("logit-standardization-kd DISTILLER.TYPE=VID", "does not train the variances"),
        ("kd_lib", "twice mse_probs"),
        ("kd-pytorch", "teacher stays in training mode"),
    ],
)
def test_notes_are_printed_below_the_overrides(words: str, note: str) -> None:
    _, *notes = weights(*words.split()).stdout.splitlines()
    assert any(line.startswith("# ") and note in line for line in notes)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("", ["stage1", "stage1:before_relu"]),
        ("REVIEWKD.STU_PREACT False", ["stage1", "stage1:before_relu"]),
        ("REVIEWKD.STU_PREACT True", ["stage1:before_relu", "stage1:before_relu"]),
    ],
)
def test_the_students_maps_of_review_are_after_the_relu_unless_preactivated(
    compose: Compose, words: str, first: list[str]
) -> None:
    line = line_of("mdistiller", "DISTILLER.TYPE=REVIEWKD", *words.split())
    pairs = resolve_config(compose("student=cnn", *shlex.split(line))).loss["review"]["pairs"]
    assert pairs[0] == first
    assert pairs[-1] == ["pool", "pool"]


def test_a_word_with_braces_is_quoted_for_the_shell() -> None:
    assert "'loss.dkd.schedule={warmup:20}'" in line_of("mdistiller", "DKD.BETA=8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("unknown", "--from must be one of repdistiller, torchdistill, "),
        ("repdistiller --alhpa .9", "an option must be one of distill, gamma, alpha, beta, "),
        ("repdistiller --alhpa .9", ", got alhpa; did you mean alpha?"),
        ("repdistiller --beta 0", "alpha must be given, it has no default there"),
        ("repdistiller --alpha 0 --distill hint", "beta must be given, it has no default there"),
        ("repdistiller --alpha 0 --distill afd", "distill must be one of kd, hint, "),
        ("torchdistill temperature=4", "alpha must be given"),
        ("mdistiller REVIEWKD.STU_PREACT 1", "REVIEWKD.STU_PREACT must be one of False, True, got"),
        ("torchdistill alpha=0.9", "temperature must be given"),
        ("torchdistill alpha=0 temperature=0", "temperature must be > 0, got 0"),
        ("torchdistill key=SRDLoss alpha=0.9 temperature=4", "key must be one of KDLoss, "),
        ("mdistiller DISTILLER.TYPE=KDSVD", "DISTILLER.TYPE must be one of KD, DKD, "),
        ("mdistiller DKD.ALPHA 1 KD.TEMPERATURE 4", "must be one of DISTILLER.TYPE, DKD.T, "),
        ("timm task_loss_weight=much", "task_loss_weight must be a finite number, got much"),
        ("timm task_loss_weight=nan", "task_loss_weight must be a finite number, got nan"),
        ("timm task_loss_weight", "task_loss_weight must have a value, task_loss_weight=..."),
        ("timm teacher.pth", "an option must be NAME=VALUE, got teacher.pth; these are weights of"),
        ("kd-pytorch kd_mode=kl", "kd_mode must be one of cse, mse, got kl"),
        ("kd_lib loss_fn=KLDivLoss", "loss_fn must be one of MSELoss, got KLDivLoss"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_a_message(words: str, message: str) -> None:
    refused = weights(*words.split())
    assert refused.exit_code == 1
    assert message in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize(
    ("option", "stages", "of_stage"),
    [
        ("abound", "boundaries", " stages.boundaries.loss.ab.connector=identity"),
        ("fsp", "flow", ""),
    ],
)
def test_what_repdistiller_trains_before_is_a_stage(
    compose: Compose, option: str, stages: str, of_stage: str
) -> None:
    line = line_of("repdistiller", "--distill", option, "-a", "0", "-b", "1")
    assert line == f"stages={stages}{of_stage} loss=ce"
    assert list(compose("student=cnn", *shlex.split(line)).stages) == [stages]


def test_factor_transfer_trains_its_paraphraser_as_a_stage(compose: Compose) -> None:
    line = line_of("repdistiller", "--distill", "factor", "-a", "0", "-b", "200")
    staged = "stages=factors loss.ft.learns=translator"
    assert line == f"loss=ft loss.ft.weight=200 hard_weight=1 {staged}"
    cfg = compose(*shlex.split(line))
    assert cfg.stages.factors.loss.ft.learns == "paraphraser"


def test_a_weight_below_0_is_refused() -> None:
    answer = weights("kd-pytorch", "alpha=2")
    assert answer.exit_code == 1
    assert "the weight of the hard part must be >= 0, got -1" in answer.output
