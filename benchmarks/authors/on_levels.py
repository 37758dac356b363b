"""Rows of the losses that compare the maps of several levels: AB, OFD and ReviewKD."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from authors.comparison import Case, Loss, compares
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


@compares("ab", AB_DISTILLATION, "models/distillation_module.py", "cifar10_AB_distillation.py")
def ab_authors(module: Any, script: Any) -> Iterator[Case]:
    student, teacher = wide_resnet_maps(8), wide_resnet_maps(16)
    term = paired("ab", student, teacher)
    nets = (SimpleNamespace(nChannels=side[-1].shape[1]) for side in (teacher, student))
    connectors = module.Active_Soft_WRN_norelu(*nets).Connectors
    for link, layer in zip(term.links, connectors, strict=True):
        same_weights(link.connector, layer)

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        connected = [connector(tensor) for connector, tensor in zip(connectors, s, strict=True)]
        levels = map(script.criterion_alternative_L2, connected, t, [1.0] * len(t))
        # The script's sum: half of the next level's weight, then / 1000 * 3.
        weighted = [level / BATCH / 2 ** (2 - n) for n, level in enumerate(levels)]
        return total(weighted) / 1000 * 3

    yield Case(term, theirs, student, teacher)


def wide_resnet_maps(channels: int) -> list[Tensor]:
    """Of three levels, each with twice the channels at half the size of the one before it."""
    return maps((channels, 16), (2 * channels, 8), (4 * channels, 4))


@compares("ab", REPDISTILLER, "models/util.py", "distiller_zoo/AB.py", note="`connector=identity`")
def ab_repdistiller(layers: Any, losses: Any) -> Iterator[Case]:
    for others in (TEACHER, STUDENT):  # the latter without connectors
        student, teacher = maps(*STUDENT), maps(*others)
        term = paired("ab", student, teacher, connector="identity")
        connector = layers.Connector(*([m.shape for m in side] for side in (student, teacher)))
        for link, layer in zip(term.links, connector.connectors, strict=True):
            same_weights(link.connector, layer)
        yield Case(term, boundaries(losses.ABLoss(len(student)), connector), student, teacher)


def boundaries(loss: Any, connector: Any) -> Loss:
    return lambda student, teacher: total(loss(connector(student), teacher))


@compares("ofd", OVERHAUL, "CIFAR-100/distiller.py")
def ofd_authors(distiller: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term, norms = overhauled(student, teacher)
    t_net = SimpleNamespace(
        get_channel_num=lambda: [m.shape[1] for m in teacher], get_bn_before_relu=lambda: norms
    )
    s_net = SimpleNamespace(get_channel_num=lambda: [m.shape[1] for m in student])
    both = distiller.Distiller(t_net, s_net)
    for link, layer in zip(term.links, both.Connectors, strict=True):
        same_weights(link.connector, layer)

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        s_net.extract_feature = lambda images, preReLU: ([*s], None)
        t_net.extract_feature = lambda images, preReLU: (t, None)
        return both(None)[1] / BATCH  # as the training script does

    yield Case(term, theirs, student, teacher)


def overhauled(student: list[Tensor], teacher: list[Tensor]) -> tuple[Term, list[nn.BatchNorm2d]]:
    """Our term, and the teacher's BatchNorms that it has its margins from."""
    term = paired("ofd", student, teacher)
    norms = [nn.BatchNorm2d(m.shape[1]).double() for m in teacher]
    for norm in norms:
        norm.weight.data, norm.bias.data = numbers(norm.num_features), numbers(norm.num_features)
    names = [f"feature{number}" for number in range(len(norms))]
    term.read_teacher(nn.ModuleDict(dict(zip(names, norms, strict=True))))
    return term, norms


@compares("ofd", MDISTILLER, "mdistiller/distillers/OFD.py")
def ofd_mdistiller(ofd: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term, norms = overhauled(student, teacher)
    channels = ([m.shape[1] for m in side] for side in (teacher, student))
    parts = nn.Module()
    parts._align_list = lambda *lists: lists
    ofd.OFD.init_ofd_modules(parts, *channels, norms)
    for link, layer in zip(term.links, parts.connectors.connectors, strict=True):
        same_weights(link.connector, layer)
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
