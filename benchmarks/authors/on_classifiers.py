"""Rows of the losses that use the classifiers, and of MGD, which draws masks."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from authors.comparison import Case, Loss, compares
from authors.repositories import CAT_KD, KD_SRRL, MGD, SIMKD
from authors.terms import CLASSES, maps, numbers, paired, same_weights
from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.base.term import Term
from kdsweep.models.reused_classifier import projector

SIZES = [(4, 4), (8, 4), (4, 8)]  # of the student's map and of the teacher's


def with_classifier(student: list[Tensor], teacher: list[Tensor]) -> tuple[Term, nn.Module]:
    """Our srrl and the teacher's classifier."""
    term, classifier = paired("srrl", student, teacher), nn.Linear(24, CLASSES).double()
    term.read_teacher(classifier)
    return term, classifier


@compares("srrl", SIMKD, "models/util.py")
def srrl_simkd(layers: Any) -> Iterator[Case]:
    student, teacher = [numbers(16, 12)], [numbers(16, 24)]
    term, classifier = with_classifier(student, teacher)
    loss = layers.SRRL(s_n=12, t_n=24)
    same_weights(term.links[0].transfer, loss.transfer)

    def theirs(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        feature, logits = loss(*s, classifier)
        return F.mse_loss(feature, *t) + F.mse_loss(logits, classifier(*t))

    yield Case(term, theirs, student, teacher)


@compares("srrl", KD_SRRL, "distiller_zoo/AIN.py", note="on maps")
def srrl_authors(layers: Any) -> Iterator[Case]:
    for size, other in SIZES:
        student, teacher = maps((12, size)), maps((24, other))
        term, classifier = with_classifier(student, teacher)
        transfer, distance = layers.transfer_conv(12, 24), layers.statm_loss()
        same_weights(term.links[0].transfer, transfer)
        yield Case(term, behind(classifier, transfer, distance), student, teacher)


def behind(classifier: nn.Module, transfer: Any, distance: Any) -> Loss:
    def theirs(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        moved = transfer(*s)
        logits = [classifier(tensor.mean(dim=(2, 3))) for tensor in (moved, *t)]
        value: Tensor = distance(moved, *t) + F.mse_loss(*logits)
        return value

    return theirs


@compares("cat_kd", CAT_KD, "mdistiller/distillers/CAT_KD.py", note="`normalize=true` and `false`")
def cat_kd(losses: Any) -> Iterator[Case]:
    for size, other in SIZES:
        for options in ({}, {"resolution": 4}, {"normalize": False}, {"resolution": 3}):
            student, teacher = maps((CLASSES, size)), maps((CLASSES, other))
            term = paired("cat_kd", student, teacher, **options)
            yield Case(term, attention(losses, term), student, teacher)


def attention(losses: Any, term: Any) -> Loss:
    return lambda s, t: losses.CAT_loss(*s, *t, term.resolution, term.normalize)


@compares("simkd", SIMKD, "models/util.py", note="with its projector")
def simkd(layers: Any) -> Iterator[Case]:
    for size, other in ((4, 4), (4, 8)):
        student, teacher = maps((12, size)), maps((24, other))
        ours = projector(12, 24, factor=2)
        loss = layers.SimKD(s_n=12, t_n=24, factor=2)
        same_weights(ours.double(), loss.transfer)
        term = paired("simkd", [ours(*student)], teacher)
        yield Case(projected(term, ours), reused(loss), student, teacher)


def projected(term: Term, ours: nn.Module) -> Loss:
    def value(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        return compute_loss(term, [copy.deepcopy(ours).to(s[0].dtype)(*s)], t)

    return value


def reused(loss: Any) -> Loss:
    def theirs(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        feature, target, _ = loss(*s, *t, nn.Linear(24, CLASSES).double())
        return F.mse_loss(feature, target)

    return theirs


@compares("mgd", MGD, "cls/mmcls/distillation/losses/mgd.py", note="equal sizes")
def mgd(losses: Any) -> Iterator[Case]:
    for channels in (12, 24):
        student, teacher = maps((channels, 4)), maps((24, 4))
        term = paired("mgd", student, teacher)
        loss = losses.MGDLoss(channels, 24, "mgd", alpha_mgd=1.0, lambda_mgd=term.masked)
        same_weights(term.links[0].generation, loss.generation)
        if loss.align is not None:
            same_weights(term.links[0].align, loss.align)
        yield Case(term, masked(loss), student, teacher)


def masked(loss: Any) -> Loss:
    """Theirs after the seed that ours is evaluated after."""

    def theirs(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        torch.manual_seed(0)
        value: Tensor = loss(*s, *t)
        return value

    return theirs
