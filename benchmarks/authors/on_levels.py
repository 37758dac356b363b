"""Rows of the losses that compare the maps of several levels: AB, OFD and ReviewKD."""

from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from authors.comparison import Case, compares
from authors.repositories import (
    AB_DISTILLATION,
    MDISTILLER,
    OVERHAUL,
    REPDISTILLER,
    REVIEWKD,
)
from authors.terms import BATCH, maps, numbers, paired, same_weights, total
from kdsweep.losses.base.term import Term

STUDENT = (8, 16), (12, 8), (16, 4)
TEACHER = (16, 16), (24, 8), (32, 4)


@compares("ab", AB_DISTILLATION, "cifar10_AB_distillation.py", note="with our connectors")
def ab_authors(script: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term = paired("ab", student, teacher)
    connectors = [deepcopy(link.connector) for link in term.links]

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        connected = [connector(tensor) for connector, tensor in zip(connectors, s, strict=True)]
        levels = map(script.criterion_alternative_L2, connected, t, [1.0] * len(t))
        # The script's sum: half of the next level's weight, then / 1000 * 3.
        weighted = [level / BATCH / 2 ** (2 - n) for n, level in enumerate(levels)]
        return total(weighted) / 1000 * 3

    yield Case(term, theirs, student, teacher)


@compares("ab", REPDISTILLER, "models/util.py", "distiller_zoo/AB.py")
def ab_repdistiller(layers: Any, losses: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term = paired("ab", student, teacher)
    connector = layers.Connector(*([m.shape for m in side] for side in (student, teacher)))
    for link, layer in zip(term.links, connector.connectors, strict=True):
        same_weights(link.connector, layer)
    loss = losses.ABLoss(len(student))
    yield Case(term, lambda s, t: total(loss(connector(s), t)), student, teacher)


@compares("ofd", OVERHAUL, "CIFAR-100/distiller.py", note="margins as measured here")
def ofd_authors(distiller: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term = paired("ofd", student, teacher)
    channels = [(t.shape[1], s.shape[1]) for s, t in zip(student, teacher, strict=True)]
    connectors = [distiller.build_feature_connector(*pair) for pair in channels]
    for link, layer in zip(term.links, connectors, strict=True):
        same_weights(link.connector, layer)
    margins = {f"margin{n}": m for n, m in enumerate(margins_of(term, teacher), start=1)}

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        nets = {"s_net": extracts(s), "t_net": extracts(t)}
        parts = SimpleNamespace(Connectors=connectors, **nets, **margins)
        _, value = distiller.Distiller.forward(parts, None)
        return value / BATCH  # as the training script does

    yield Case(term, theirs, student, teacher)


def extracts(features: list[Tensor]) -> Any:
    """A network that returns these features, and no logits."""
    return SimpleNamespace(extract_feature=lambda images, preReLU: ([*features], None))


def margins_of(term: Term, teacher: list[Tensor]) -> list[Tensor]:
    """(1, channels, 1, 1) for each level, as our term measures them in its first batch."""
    pairs = zip(deepcopy(term).links, teacher, strict=True)
    return [link.margin(maps).unsqueeze(0) for link, maps in pairs]


@compares("ofd", MDISTILLER, "mdistiller/distillers/OFD.py", note="margins as measured here")
def ofd_mdistiller(ofd: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term = paired("ofd", student, teacher)
    channels = ([m.shape[1] for m in side] for side in (student, teacher))
    connectors = ofd.ConnectorConvBN(*channels)
    for link, layer in zip(term.links, connectors.connectors, strict=True):
        same_weights(link.connector, layer)
    parts = SimpleNamespace(
        connectors=connectors,
        margins=margins_of(term, teacher),
        _align_list=lambda *lists: lists,
    )
    yield Case(term, lambda s, t: ofd.OFD.ofd_loss(parts, s, t), student, teacher)


# Three maps and the embedding, from the first to the deepest.
SIZES = (16, 8, 4, 1)


def reviewed() -> tuple[Term, list[Tensor], list[Tensor]]:
    student, teacher = ([*maps(*side), numbers(BATCH, side[-1][0])] for side in (STUDENT, TEACHER))
    return paired("review", student, teacher), student, teacher


def as_maps(features: list[Tensor]) -> list[Tensor]:
    return [*features[:-1], features[-1][:, :, None, None]]


def fusions(term: Term, fusion: Any) -> list[nn.Module]:
    """Theirs with our weights, from the deepest to the first."""
    made = []
    for link in term.links:
        (common, entering), (leaving, _) = (
            layer[0].weight.shape[:2] for layer in (link.enter, link.leave)
        )
        layer = fusion(entering, common, leaving, link.attend is not None)
        made.append(same_weights(link, layer))
    return made[::-1]


@compares("review", REVIEWKD, "CIFAR-100/model/reviewkd.py")
def review_authors(reviewkd: Any) -> Iterator[Case]:
    term, student, teacher = reviewed()
    shapes = {"shapes": SIZES[::-1], "out_shapes": SIZES[::-1]}
    abfs = fusions(term, reviewkd.ABF)

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        network = SimpleNamespace(
            student=lambda images, is_feat: (as_maps(s), None), abfs=abfs, **shapes
        )
        fused, _ = reviewkd.ReviewKD.forward(network, None)
        return reviewkd.hcl(fused, as_maps(t))

    yield Case(term, theirs, student, teacher)


@compares("review", MDISTILLER, "mdistiller/distillers/ReviewKD.py")
def review_mdistiller(reviewkd: Any) -> Iterator[Case]:
    term, student, teacher = reviewed()
    fixed = SimpleNamespace(
        abfs=fusions(term, reviewkd.ABF),
        shapes=SIZES[::-1],
        out_shapes=SIZES[::-1],
        stu_preact=False,
        ce_loss_weight=0.0,
        reviewkd_loss_weight=1.0,
        warmup_epochs=1,
    )

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        logits = torch.zeros(BATCH, 2)
        fixed.student = lambda images: (logits, {"feats": s[:-1], "pooled_feat": s[-1]})
        preact = [t[0], *t[:-1]]  # with the stem's, which is left out
        fixed.teacher = lambda images: (logits, {"preact_feats": preact, "pooled_feat": t[-1]})
        labels = torch.zeros(BATCH, dtype=torch.int64)
        return reviewkd.ReviewKD.forward_train(fixed, None, labels, epoch=1)[1]["loss_kd"]

    yield Case(term, theirs, student, teacher)
