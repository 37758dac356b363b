"""The recipes of CIFAR-100 against the commands, configs and totals of their authors' code."""

from functools import cache
from typing import Any

import pytest
import torch
from commands import Compose
from omegaconf import OmegaConf

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.builders.losses import build_objective
from kdsweep.cli import CONF
from kdsweep.common.types import Batch, Output
from kdsweep.config.resolve import resolve_config

REVIEWKD = {  # dvlab-research/ReviewKD, CIFAR-100/train.py; its epochs count from 0
    "dataset.val_fraction": 0.0,
    "dataset.mean": [0.49137255, 0.48235294, 0.44666667],
    "dataset.std": [0.24705882, 0.24352941, 0.26156863],
    "dataset.augment.crop_padding": 4,
    "dataset.augment.padding_mode": "constant",
    "dataset.augment.flip": True,
    "optimizer.lr": 0.1,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 5e-4,
    "optimizer.nesterov": True,
    "schedule.milestones": [151, 181, 211],
    "schedule.gamma": 0.1,
    "trainer.epochs": 240,
    "trainer.batch_size": 128,
    "loss.review.schedule": {"warmup": 20, "from_zero": True},
    "hard_weight": None,
}
OVERHAUL = {  # clovaai/overhaul-distillation, CIFAR-100/train_with_distillation.py
    **{k: v for k, v in REVIEWKD.items() if k != "loss.review.schedule"},
    "dataset.augment.padding_mode": "reflect",
    "schedule.milestones": [100, 150],
    "trainer.epochs": 200,
    "loss.ofd.weight": 1e-3,
}
CLS_KD = {  # yzd-v/cls_KD, branch master: configs/distillers/cifar100, configs/resnet
    "teacher.name": "resnet34_cifar",
    "student.name": "resnet18_cifar",
    "dataset.augment.crop_padding": 4,
    "dataset.augment.padding_mode": "constant",
    "optimizer.lr": 0.1,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 5e-4,
    "optimizer.nesterov": False,
    "schedule.milestones": [60, 120, 160],
    "schedule.gamma": 0.2,
    "trainer.epochs": 200,
    "trainer.batch_size": 128,
    "loss.nkd.T": 3.0,
    "loss.nkd.gamma": 3.5,
    "loss.nkd.weight": 1.0,
    "hard_weight": None,
}
TRAINING = ("optimizer", "schedule", "trainer")  # of the students, and of their teachers


@pytest.fixture(scope="module")
def config_of(compose: Compose) -> Compose:
    """The config of some words, composed once."""
    return cache(compose)


@pytest.mark.parametrize(
    ("recipe", "values"), [("review", REVIEWKD), ("ofd", OVERHAUL), ("nkd", CLS_KD)]
)
def test_a_recipe_has_the_values_of_its_authors(
    config_of: Compose, recipe: str, values: dict[str, Any]
) -> None:
    cfg = config_of(f"experiment=cifar100_{recipe}")
    composed = {key: value_of(cfg, key) for key in values}
    assert composed == values
    teacher = {key: v for key, v in values.items() if key.split(".")[0] in TRAINING}
    assert {key: value_of(cfg.teacher, key) for key in teacher} == teacher


def reviewkd_rates() -> list[float]:
    """lr_schedule of CIFAR-100/util/misc.py, called after each epoch from 0."""
    rates = [0.1]
    for epoch in range(239):
        rates.append(rates[-1] * (0.1 if epoch in (150, 180, 210) else 1.0))
    return rates


RATES = {
    "review": reviewkd_rates(),
    "ofd": [0.1] * 100 + [0.1 / 10] * 50 + [0.1 / 100] * 50,  # a new optimizer each
    "nkd": [0.1 * 0.2 ** sum(epoch >= step for step in (60, 120, 160)) for epoch in range(200)],
    "dkd": [0.05 * 0.1 ** sum(epoch > step for step in (150, 180, 210)) for epoch in range(1, 241)],
}


@pytest.mark.parametrize(("recipe", "rates"), RATES.items())
def test_every_epoch_has_the_learning_rate_of_the_authors(
    config_of: Compose, recipe: str, rates: list[float]
) -> None:
    config = config_of(f"experiment=cifar100_{recipe}")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=config.optimizer.lr)
    node = value_of(config, "schedule")
    scheduler = instantiate_node(node, "schedule").build(
        optimizer, epochs=config.trainer.epochs, steps_per_epoch=1
    )
    seen = []
    for _ in range(config.trainer.epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen == pytest.approx(rates)


def value_of(cfg: Any, key: str) -> Any:
    node = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


# script/reviewKD.sh; train.py sets the learning rate of ShuffleNets to 0.02.
REVIEW = {
    "wrn40_2_wrn16_2": (0.1, 5),
    "wrn40_2_wrn40_1": (0.1, 5),
    "wrn40_2_shufflenetv1": (0.02, 5),
    "resnet32x4_resnet8x4": (0.1, 5),
    "resnet32x4_shufflenetv1": (0.02, 5),
    "resnet32x4_shufflenetv2": (0.02, 8),
    "resnet56_resnet20": (0.1, 0.6),
    "resnet110_resnet32": (0.1, 1),
}
# Names of the files in logs/KD and logs/DKD of sunshangquan/logit-standardization-KD: T and weight;
# T, weight and beta, which is that of configs/cifar100/dkd where the name has none.
STANDARDISED = {
    "resnet110_resnet20": ((4, 12), (2, 15, 2)),
    "resnet110_resnet32": ((2, 9), (2, 15, 2)),
    "resnet32x4_resnet8x4": ((2, 9), (2, 9, 8)),
    "resnet32x4_shufflenetv2": ((2, 9), (2, 9, 8)),
    "resnet32x4_wrn16_2": ((3, 9), (2, 9, 2)),
    "resnet32x4_wrn40_2": ((3, 9), (2, 9, 8)),
    "resnet50_mobilenetv2": ((3, 1), (2, 15, 2)),
    "resnet56_resnet20": ((2, 9), (3, 18, 2)),
    "vgg13_mobilenetv2": ((3, 9), (3, 9, 2)),
    "vgg13_vgg8": ((3, 9), (2, 15, 2)),
    "wrn40_2_mobilenetv2": ((3, 9), (2, 15, 2)),
    "wrn40_2_resnet8x4": ((2, 9), (2, 18, 2)),
    "wrn40_2_wrn16_2": ((2, 9), (2, 12, 2)),
    "wrn40_2_wrn40_1": ((2, 9), (2, 12, 2)),
}


def published(pair: str) -> Any:
    """The defaults of the repositories with the settings of a pair."""
    names = ("base/cifar100", f"pair/{pair}")
    return OmegaConf.merge(
        *(OmegaConf.load(CONF / f"experiment/{n}.yaml") for n in names)
    ).published


@pytest.mark.parametrize(("pair", "setting"), REVIEW.items())
def test_a_pair_has_the_setting_of_reviewkd_s_script(
    pair: str, setting: tuple[float, float]
) -> None:
    review = published(pair).review
    assert (review.lr, review.weight) == setting


@pytest.mark.parametrize(("pair", "settings"), STANDARDISED.items())
def test_a_pair_has_the_settings_that_the_logs_are_named_after(
    pair: str, settings: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    found = published(pair)
    kd, dkd = found.logit_std, found.dkd_logit_std
    assert ((kd.T, kd.weight), (dkd.T, dkd.weight, dkd.beta)) == settings


# Of main's and the distiller's code of that repository, after 1 and after 20 epochs.
TOTALS = [
    ("dkd_logit_std", "resnet56_resnet20", 3.1008787833385973, 7.521107585835574),
    ("dkd_logit_std", "resnet32x4_resnet8x4", 3.282438839358639, 11.152308706236404),
    ("logit_std", "vgg13_vgg8", 1.3621902241751729, 1.3621902241751729),
    ("logit_std", "resnet110_resnet20", 1.7139286368091444, 1.7139286368091444),
]


@pytest.mark.parametrize(("recipe", "pair", "first", "full"), TOTALS)
def test_the_total_is_that_of_logit_standardization_kd(
    compose: Compose, recipe: str, pair: str, first: float, full: float
) -> None:
    cfg = compose(f"experiment=cifar100_{recipe}", f"experiment/pair={pair}")
    objective = build_objective(resolve_config(cfg))
    totals = [objective(*golden_inputs(), epoch)[0].item() for epoch in (0, 19)]
    assert totals == pytest.approx([first, full], rel=1e-12)


def golden_inputs() -> tuple[Output, Output, Batch]:
    """As in tests/losses: 4 images, 5 classes, in float64."""
    i, j = (
        axis.double() for axis in torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    )
    student, teacher = 3 * torch.sin(0.7 * i + 1.3 * j + 0.5), 4 * torch.cos(0.4 * i + 0.9 * j)
    batch = Batch(torch.zeros(4, 1, 2, 2), torch.tensor([0, 3, 1, 4]), torch.arange(4))
    return Output(student, {}), Output(teacher, {}), batch
