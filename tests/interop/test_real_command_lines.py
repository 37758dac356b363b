"""Command lines from the repositories' READMEs, scripts and configs: our objective has their total.

The objective is built from the printed overrides alone, as train.py builds it.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from commands import Compose
from repository_formulas import (
    Inputs,
    at,
    ce,
    dkd,
    hint,
    kl,
    kl_standardized,
    mlkd,
    mse_of_probabilities,
    nst,
    pkt,
    random_inputs,
    rkd,
    soft_ce,
    sp,
    standardized,
    with_strong_view,
)
from torch import Tensor

from kdsweep.builders.losses import build_objective
from kdsweep.config.resolve import resolve_config
from kdsweep.interop.repositories import REPOSITORIES, translate
from kdsweep.losses.base.objective import Objective

EPOCH = 4  # of training, counted from 1
INPUTS = random_inputs()
LABELS = INPUTS.batch.labels


class Line(NamedTuple):
    """A command line, where it stands, and what the repository minimises with it."""

    source: str
    stands_in: str
    words: str  # CONFIG is the path of the file with `config`
    total: Callable[[Inputs], Tensor]
    config: str = ""


PATH = "./save/models/{}_vanilla/ckpt_epoch_240.pth"
LARGE = f"python train_student.py --path_t {PATH.format('resnet32x4')}"
SCRIPT = "scripts/run_cifar_distill.sh"
MAPS = ("stage1", "stage2", "stage3")


def repdistiller(options: str, total: Callable[[Inputs], Tensor], where: str = SCRIPT) -> Line:
    return Line("repdistiller", where, f"{LARGE} {options} --model_s resnet8x4 --trial 1", total)


REPDISTILLER = [
    repdistiller(
        "--distill kd -r 0.1 -a 0.9 -b 0", lambda x: 0.1 * ce(x) + 0.9 * kl(x, 4), "README.md"
    ),
    repdistiller("--distill attention -a 0 -b 1000", lambda x: ce(x) + 1000 * at(x.maps(*MAPS))),
    repdistiller(
        "--distill similarity -a 0 -b 3000", lambda x: ce(x) + 3000 * sp(*x.maps("stage3")[0])
    ),
    repdistiller("--distill rkd -a 0 -b 1", lambda x: ce(x) + rkd(*x.maps("pool")[0])),
    repdistiller("--distill pkt -a 0 -b 30000", lambda x: ce(x) + 30000 * pkt(*x.maps("pool")[0])),
    repdistiller("--distill nst -a 0 -b 50", lambda x: ce(x) + 50 * nst(x.maps(*MAPS))),
    repdistiller("--distill abound -a 0 -b 1", ce),
    repdistiller("--distill fsp -a 0 -b 50", ce),
    repdistiller(
        "--distill abound --gamma .1 --alpha .9 --beta 1",
        lambda x: 0.1 * ce(x) + 0.9 * kl(x, 4),
        "helper/loops.py",
    ),
    Line(
        "repdistiller",
        "README.md, table 2",
        f"--path_t {PATH.format('vgg13')} --distill kd --model_s MobileNetV2 -r 0.1 -a 0.9 -b 0",
        lambda x: 0.1 * ce(x) + 0.9 * kl(x, 4),
    ),
]


def mdistiller_config(kind: str, teacher: str, student: str, more: str = "") -> str:
    """What the configs for CIFAR-100 hold."""
    return f"""
EXPERIMENT: {{NAME: "", TAG: "{kind},{teacher},{student}", PROJECT: cifar100_baselines}}
DISTILLER: {{TYPE: {kind}, TEACHER: {teacher}, STUDENT: {student}}}
SOLVER: {{BATCH_SIZE: 64, EPOCHS: 240, LR: 0.05, LR_DECAY_STAGES: [150, 180, 210],
  LR_DECAY_RATE: 0.1, WEIGHT_DECAY: 0.0005, MOMENTUM: 0.9, TYPE: SGD}}
{more}
"""


IMAGENET_KD = """
DATASET: {TYPE: imagenet, NUM_WORKERS: 32, TEST: {BATCH_SIZE: 128}}
DISTILLER: {TYPE: KD, TEACHER: ResNet34, STUDENT: ResNet18}
SOLVER: {BATCH_SIZE: 512, EPOCHS: 100, LR: 0.2, LR_DECAY_STAGES: [30, 60, 90], TYPE: SGD}
KD: {TEMPERATURE: 1, LOSS: {CE_WEIGHT: 0.5, KD_WEIGHT: 0.5}}
"""


def dkd_total(x: Inputs, beta: float) -> Tensor:
    student, teacher = x.logits
    factor = min(EPOCH / 20, 1)
    return ce(x) + factor * dkd(student, teacher, LABELS, T=4, alpha=1, beta=beta)


MDISTILLER = [
    Line(
        "mdistiller",
        "README.md",
        "python3 tools/train.py --cfg CONFIG SOLVER.BATCH_SIZE 128 SOLVER.LR 0.1",
        lambda x: dkd_total(x, beta=8),
        mdistiller_config("DKD", "resnet32x4", "resnet8x4"),
    ),
    Line(
        "mdistiller",
        "configs/cifar100/dkd/res56_res20.yaml",
        "python3 tools/train.py --cfg CONFIG",
        lambda x: dkd_total(x, beta=2),
        mdistiller_config("DKD", "resnet56", "resnet20", "DKD: {BETA: 2.0}"),
    ),
    Line(
        "mdistiller",
        "configs/cifar100/kd.yaml",
        "python3 tools/train.py --cfg CONFIG",
        lambda x: 0.1 * ce(x) + 0.9 * kl(x, 4),
        mdistiller_config("KD", "resnet32x4", "resnet8x4"),
    ),
    Line(
        "mdistiller",
        "configs/cifar100/sp.yaml",
        "python3 tools/train.py --cfg CONFIG",
        lambda x: ce(x) + 3000 * sp(*x.maps("stage3")[0]),
        mdistiller_config("SP", "resnet32x4", "resnet8x4"),
    ),
    Line(
        "mdistiller",
        "configs/imagenet/r34_r18/kd.yaml",
        "python3 tools/train.py --cfg CONFIG",
        lambda x: 0.5 * ce(x) + 0.5 * kl(x, 1),
        IMAGENET_KD,
    ),
]


def standardized_dkd_total(x: Inputs) -> Tensor:
    student, teacher = map(standardized, x.logits)
    factor = min(EPOCH / 20, 1)
    return ce(x) + factor * dkd(student, teacher, LABELS, T=2, alpha=9, beta=72)


WITH_THE_FLAG = "python tools/train.py --cfg CONFIG --logit-stand --base-temp 2 --kd-weight 9"
STANDARDIZATION = [
    Line(
        "logit-standardization-kd",
        "README.md",
        WITH_THE_FLAG,
        lambda x: 0.1 * ce(x) + 9 * kl_standardized(x, 2),
        mdistiller_config("KD", "resnet32x4", "resnet8x4"),
    ),
    Line(
        "logit-standardization-kd",
        "README.md",
        WITH_THE_FLAG,
        standardized_dkd_total,
        mdistiller_config("DKD", "resnet32x4", "resnet8x4"),
    ),
    Line(
        "logit-standardization-kd",
        "README.md",
        "python tools/train.py --cfg CONFIG",
        lambda x: 0.1 * ce(x) + 9 * kl(x, 2),
        mdistiller_config("KD", "resnet32x4", "resnet8x4"),
    ),
]


def torchdistill_config(key: str, arguments: str) -> str:
    return f"""
datasets:
  &train cifar100/train: !import_call
    key: 'torchvision.datasets.CIFAR100'
models:
  student_model:
    src_ckpt:
    dst_ckpt: !join ['./resource/ckpt/', 'student.pt']
train:
  num_epochs: 20
  train_data_loader:
    dataset_id: *train
  criterion:
    key: 'WeightedSumLoss'
    kwargs:
      sub_terms:
        kd:
          criterion:
            key: '{key}'
            kwargs: {{student_module_path: '.', student_module_io: 'output',
              teacher_module_path: '.', teacher_module_io: 'output',
              {arguments}, reduction: 'batchmean'}}
          weight: 1.0
"""


CLASSIFICATION = "examples/torchvision/image_classification.py --config CONFIG --log log/kd.txt"
TORCHDISTILL = [
    Line(
        "torchdistill",
        "examples/torchvision/README.md, ilsvrc2012/kd/alexnet_from_resnet152.yaml",
        f"python3 {CLASSIFICATION}",
        lambda x: 0.5 * ce(x) + 0.5 * kl(x, 1),
        torchdistill_config("KDLoss", "temperature: 1.0, alpha: 0.5"),
    ),
    Line(
        "torchdistill",
        "cifar100/kd/densenet_bc_k12_depth100_from_wide_resnet28_10-final_run.yaml",
        f"torchrun --nproc_per_node=4 {CLASSIFICATION} --world_size 4",
        lambda x: 0.9 * ce(x) + 0.1 * kl(x, 4),
        torchdistill_config("KDLoss", "temperature: 4.0, alpha: 0.9"),
    ),
    Line(
        "torchdistill",
        "ilsvrc2012/kd_w_ls/resnet18_from_resnet34.yaml",
        f"python3 {CLASSIFICATION}",
        lambda x: 0.5 * ce(x) + 9 * kl_standardized(x, 2),
        torchdistill_config("LogitStdKDLoss", "temperature: 2.0, alpha: 0.5, beta: 9"),
    ),
]
OTHERS = [
    Line(
        "timm",
        "train.py",
        "python train.py /imagenet --model resnet18 --kd-model-name resnet50"
        " --kd-distill-type logit --task-loss-weight 0.3 --kd-temperature 4.0 --amp -b 256",
        lambda x: 0.3 * ce(x, smoothing=0.1) + 0.7 * kl(x, 4),
    ),
    Line(
        "timm",
        "timm/task/distillation.py, LogitDistillationTask",
        "task_loss_weight=0.3 temperature=4.0",
        lambda x: 0.3 * ce(x) + 0.7 * kl(x, 4),
    ),
    Line(
        "kd-pytorch",
        "README.md",
        "python -m trainer --T=16.0 --alpha=0.5 --kd_mode=cse --optimizer=sgd-cifar10",
        lambda x: 0.5 * ce(x) + 0.5 * soft_ce(x, 16),
    ),
    Line(
        "kd-pytorch",
        "README.md",
        "python -m trainer --T=1.0 --alpha=0.5 --kd_mode=mse",
        lambda x: 0.5 * ce(x) + 0.25 * mse_of_probabilities(x, 1),
    ),
    Line(
        "kd_lib",
        "README.md, VanillaKD",
        "epochs=5 plot_losses=True save_model=True",
        lambda x: 0.5 * ce(x) + 0.5 * mse_of_probabilities(x, 20),
    ),
    Line(
        "distiller",
        "examples/quantization/fp32_baselines/preact_resnet_cifar_base_fp32.yaml",
        "-b 128 data.cifar10/ -j 1 --epochs 200 --wd=0.0002 --vs=0 --kd-teacher"
        " preact_resnet44_cifar --kd-resume best.pth.tar --kd-temp 5.0 --kd-dw 0.7 --kd-sw 0.3",
        lambda x: 0.3 * ce(x) + 0.7 * kl(x, 5),
    ),
    Line(
        "mmrazor",
        "configs/distill/mmcls/kd/kd_logits_resnet34_resnet18_8xb32_in1k.py",
        "tau=1 loss_weight=3",
        lambda x: ce(x) + 3 * kl(x, 1),
    ),
    Line(
        "modelopt",
        "docs/source/guides/4_distillation.rst",
        "",
        lambda x: 0.5 * ce(x) + 0.5 * kl(x, 1),
    ),
]
LINES = [*REPDISTILLER, *MDISTILLER, *STANDARDIZATION, *TORCHDISTILL, *OTHERS]


def words_of(line: Line, folder: Path) -> list[str]:
    """The printed overrides."""
    (folder / "config.yaml").write_text(line.config)
    given = shlex.split(line.words.replace("CONFIG", str(folder / "config.yaml")))
    return translate(line.source, given).words


def objective_of(words: list[str], compose: Compose) -> Objective:
    """What train.py would build; for a cnn where the overrides name no networks with features."""
    named = any(word.startswith("experiment=base/cifar100") for word in words)
    return build_objective(resolve_config(compose(*([] if named else ["student=cnn"]), *words)))


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.source}: {line.words[-60:]}")
def test_the_overrides_give_the_total_of_the_repository(
    compose: Compose, tmp_path: Path, line: Line
) -> None:
    objective = objective_of(words_of(line, tmp_path), compose)
    total = objective(*INPUTS, epoch=EPOCH - 1).total
    assert total.item() == pytest.approx(line.total(INPUTS).item(), rel=1e-12)


def test_hints_are_those_of_repdistiller(compose: Compose) -> None:
    """Its script's line for FitNet, with the convolution that our term has drawn."""
    line = repdistiller("--distill hint -a 0 -b 100", ce)
    objective = objective_of(translate(line.source, shlex.split(line.words)).words, compose)
    term = objective.terms["fitnet"]
    term.setup(INPUTS.student, INPUTS.teacher, LABELS)
    convolution = next(module for module in term.modules() if isinstance(module, torch.nn.Conv2d))
    expected = ce(INPUTS) + 100 * hint(*INPUTS.maps("stage2")[0], convolution)
    total = objective(*INPUTS).total
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("temperature", [2, 3])
def test_mlkd_compares_two_views_as_in_logit_standardization(
    compose: Compose, tmp_path: Path, temperature: int
) -> None:
    """The README's line for MLKD."""
    config = mdistiller_config("MLKD", "resnet32x4", "resnet8x4", "KD: {LOSS: {CE_WEIGHT: 0.1}}")
    words = WITH_THE_FLAG.replace("--base-temp 2", f"--base-temp {temperature}")
    line = Line("logit-standardization-kd", "README.md", words, ce, config)
    objective = objective_of(words_of(line, tmp_path), compose)
    views = with_strong_view(INPUTS)
    total = objective(*views).total
    expected = mlkd(views, temperature, weight=9, ce_weight=0.1)
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)


def test_there_are_lines_of_every_repository() -> None:
    assert {line.source for line in LINES} == set(REPOSITORIES)
    assert len(LINES) == 29  # docs/losses.md counts these, the hints' and MLKD's
