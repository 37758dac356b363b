"""Rows of the losses on labels and on logits."""

from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from authors.comparison import Case, Loss, compares
from authors.repositories import (
    CLS_KD,
    CTKD,
    DIST_KD,
    IMAGE_CLASSIFICATION_SOTA,
    KD_DATA,
    KD_PYTORCH,
    LOGIT_STANDARDIZATION,
    MDISTILLER,
    MLKD,
    REPDISTILLER,
    TEACHER_FREE,
    TORCHDISTILL,
    TTM,
)
from authors.terms import BATCH, CLASSES, T, numbers, on_logits, ours
from kdsweep.common.types import Batch, Output
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.base.term import Term

TEMPERATURES = (1.0, 4.0, 20.0)


@compares("ce", MDISTILLER, "mdistiller/distillers/_base.py")
def ce(base: Any) -> Iterator[Case]:
    def theirs(student: Tensor, _: Tensor, labels: Tensor) -> Tensor:
        trainer = SimpleNamespace(student=lambda image: (image, {}))
        return base.Vanilla.forward_train(trainer, student, labels)[1]["ce"]

    case = on_logits(ours("kl"), theirs, labels=True)
    assert case.labels is not None
    labels = case.labels
    case.ours = lambda student, _: cross_entropy(student[0], labels)
    yield case


@compares("kl", REPDISTILLER, "distiller_zoo/KD.py", note="T = 1, 4, 20")
def kl_repdistiller(kd: Any) -> Iterator[Case]:
    for temperature in TEMPERATURES:
        yield on_logits(ours("kl", T=temperature), kd.DistillKL(temperature))


@compares("kl", MDISTILLER, "mdistiller/distillers/KD.py", note="T = 1, 4, 20")
def kl_mdistiller(kd: Any) -> Iterator[Case]:
    for temperature in TEMPERATURES:
        yield on_logits(ours("kl", T=temperature), partial(kd.kd_loss, temperature=temperature))


@compares(
    "kl", TORCHDISTILL, "torchdistill/losses/mid_level.py", note="`KDLoss`, alpha 0, times T^2"
)
def kl_torchdistill(losses: Any) -> Iterator[Case]:
    loss = losses.KDLoss(*LOGITS, temperature=T, alpha=0)  # without labels, and without T^2
    yield on_logits(ours("kl"), lambda s, t: T**2 * loss(logits_of(s), logits_of(t)))


@compares("kl", LOGIT_STANDARDIZATION, "mdistiller/distillers/KD.py", note="`standardize=true`")
def kl_standardized(kd: Any) -> Iterator[Case]:
    for temperature in TEMPERATURES:
        theirs = partial(kd.kd_loss, temperature=temperature, logit_stand=True)
        yield on_logits(ours("kl", T=temperature, standardize=True), theirs)


@compares("ctkd", CTKD, "models/temp_global.py", "distiller_zoo/KD.py", note="at its first T")
def ctkd(temperatures: Any, kd: Any) -> Iterator[Case]:
    yield on_logits(ours("ctkd"), partial(kd.DistillKL(), temp=first_temperature(temperatures)))


@compares(
    "ctkd", CTKD, "models/temp_global.py", "distiller_zoo/DKD.py", note="`dkd`, at its first T"
)
def ctkd_dkd(temperatures: Any, dkd: Any) -> Iterator[Case]:
    T = first_temperature(temperatures)
    theirs = partial(dkd.DKDloss(), alpha=1.0, beta=2.0, temperature=T)
    yield on_logits(ours("ctkd", dkd={"alpha": 1.0, "beta": 2.0}), theirs, labels=True)


def first_temperature(temperatures: Any) -> Tensor:
    """As in helper/loops.py, with t_start 1 and t_end 20."""
    learned: Tensor = temperatures.Global_T().double()(None, None, -1.0)
    return (1 + 20 * learned.sigmoid()).detach()


@compares("kl", TEACHER_FREE, "my_loss_function.py", note="`loss_kd_self`, alpha 1, multiplier C")
def kl_self_training(losses: Any) -> Iterator[Case]:
    params = SimpleNamespace(alpha=1.0, temperature=T, multiplier=CLASSES)

    def theirs(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return losses.loss_kd_self(student, labels, teacher, params)

    yield on_logits(ours("kl"), theirs, labels=True)


@compares("soft_ce", KD_PYTORCH, "trainer.py", note="`cse`")
def soft_ce(trainer: Any) -> Iterator[Case]:
    for temperature in TEMPERATURES:
        criterion = trainer._make_criterion(alpha=1.0, T=temperature, mode="cse")
        yield on_logits(ours("soft_ce", T=temperature), criterion, labels=True)


@compares("mse", KD_DATA, "code/image_classfication/tools/losses.py")
def mse(losses: Any) -> Iterator[Case]:
    yield on_logits(ours("mse"), losses.mse_logit)


@compares("mse_probs", KD_PYTORCH, "trainer.py", note="`mse`")
def mse_probs(trainer: Any) -> Iterator[Case]:
    for temperature in TEMPERATURES:
        criterion = trainer._make_criterion(alpha=1.0, T=temperature, mode="mse")
        yield on_logits(ours("mse_probs", T=temperature), criterion, labels=True)


@compares("dkd", MDISTILLER, "mdistiller/distillers/DKD.py", note="beta = 2, 8")
def dkd_mdistiller(dkd: Any) -> Iterator[Case]:
    for beta in (2.0, 8.0):
        theirs = partial(dkd.dkd_loss, alpha=1.0, beta=beta, temperature=T)
        yield on_logits(ours("dkd", beta=beta), theirs, labels=True)


@compares("dkd", LOGIT_STANDARDIZATION, "mdistiller/distillers/DKD.py", note="`standardize=true`")
def dkd_standardized(dkd: Any) -> Iterator[Case]:
    theirs = partial(dkd.dkd_loss, alpha=9.0, beta=18.0, temperature=2.0, logit_stand=True)
    term = ours("dkd", T=2.0, alpha=9.0, beta=18.0, standardize=True)
    yield on_logits(term, theirs, labels=True)


@compares("nkd", CLS_KD, "mmcls/models/dis_losses/nkd.py", note="T, gamma = 1, 1.5; 3, 3.5")
def nkd(losses: Any) -> Iterator[Case]:
    for temperature, gamma in ((1.0, 1.5), (3.0, 3.5)):
        theirs = losses.NKDLoss("nkd", True, temp=temperature, gamma=gamma)
        yield on_logits(ours("nkd", T=temperature, gamma=gamma), theirs, labels=True)


@compares("dist", IMAGE_CLASSIFICATION_SOTA, "lib/models/losses/dist_kd.py", note="tau = 1, 4")
def dist(losses: Any) -> Iterator[Case]:
    for tau in (1.0, 4.0):
        yield on_logits(ours("dist", tau=tau), losses.DIST(beta=1.0, gamma=1.0, tau=tau))


@compares("dist", DIST_KD, "segmentation/losses/dist_kd.py", note="tau = 1")
def dist_segmentation(losses: Any) -> Iterator[Case]:
    yield on_logits(ours("dist", tau=1.0), losses.DIST())


@compares(
    "wttm",
    TTM,
    "distiller_zoo/wttm.py",
    "distiller_zoo/ttm.py",
    note="`ttm_l` = 0.2, 0.1; the latter file with `weighted=false`",
)
def wttm(weighted: Any, plain: Any) -> Iterator[Case]:
    for exponent in (0.2, 0.1):
        yield on_logits(ours("wttm", T=1 / exponent), weighted.WTTM(exponent))
        yield on_logits(ours("wttm", T=1 / exponent, weighted=False), plain.TTM(exponent))


@compares(
    "tfkd",
    TEACHER_FREE,
    "my_loss_function.py",
    note="`loss_kd_regularization`, alpha 1, multiplier C; T = 20, 40",
)
def tfkd(losses: Any) -> Iterator[Case]:
    for temperature in (20.0, 40.0):
        params = SimpleNamespace(reg_alpha=1.0, reg_temperature=temperature, multiplier=CLASSES)
        theirs = partial(designed_teacher, losses, params)
        yield on_logits(ours("tfkd", T=temperature), theirs, labels=True)


def designed_teacher(
    losses: Any, params: SimpleNamespace, student: Tensor, teacher: Tensor, labels: Tensor
) -> Tensor:
    return losses.loss_kd_regularization(student, labels, params)


@compares("mlkd", MLKD, "mdistiller/distillers/KD_ours.py", note="two views; one")
def mlkd(losses: Any) -> Iterator[Case]:
    yield from on_views(ours("mlkd"), partial(view_loss, losses.KD_ours))


@compares(
    "mlkd",
    LOGIT_STANDARDIZATION,
    "mdistiller/distillers/MLKD.py",
    note="`standardize=true`; two views; one",
)
def mlkd_standardized(losses: Any) -> Iterator[Case]:
    yield from on_views(ours("mlkd", standardize=True), partial(view_loss, losses.MLKD))


def on_views(term: Term | Loss, theirs: Loss) -> Iterator[Case]:
    """A case on the logits of a weak and a strong view, and one where these are the same."""
    student, teacher = ([3 * numbers(BATCH, CLASSES) for _ in range(2)] for _ in range(2))
    batch = Batch(torch.empty(BATCH, 0), torch.zeros(BATCH).long(), torch.arange(BATCH))

    def both_views(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        outputs = (Output(weak, {}, strong=Output(strong, {})) for weak, strong in (s, t))
        return term(*outputs, batch)

    yield Case(both_views, theirs, student, teacher)
    yield Case(term, lambda s, t: theirs([*s, *s], [*t, *t]), student[:1], teacher[:1])


def view_loss(distiller: Any, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """What their distiller weights with KD_WEIGHT, without it; logits of the weak, strong view."""
    parts = SimpleNamespace(
        student=lambda view: (student[view], None),
        teacher=lambda view: (teacher[view], None),
        **{"temperature": 4.0, "ce_loss_weight": 0.0, "kd_loss_weight": 1.0, "logit_stand": True},
    )
    labels = torch.zeros(BATCH).long()
    _, values = distiller.forward_train(parts, image_weak=0, image_strong=1, target=labels)
    return values["loss_kd"] + values["loss_cc"] + values["loss_bc"]


LOGITS = ("logits", "output", "logits", "output")  # where torchdistill's losses find them


def logits_of(tensor: Tensor) -> dict[str, dict[str, Tensor]]:
    return {"logits": {"output": tensor}}
