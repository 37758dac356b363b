"""Rows of the losses on feature maps (B, channels, H, W), except those with one module a level."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from authors.comparison import Case, Loss, compares
from authors.repositories import ICKD, MDISTILLER, REPDISTILLER, TORCHDISTILL
from authors.terms import maps, paired, same_weights, total

# (channels, size): the teacher's map is larger, smaller, and as large.
STUDENT = (8, 8), (12, 8), (16, 4)
TEACHER = (16, 16), (24, 4), (32, 4)


def on_maps(loss: str, theirs: Callable[[list[Tensor], list[Tensor]], Any]) -> Case:
    """A case of a term without modules, on pairs of maps of three relations of their sizes."""
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    return Case(
        paired(loss, student, teacher), lambda s, t: total(listed(theirs(s, t))), student, teacher
    )


def listed(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else values


@compares("at", REPDISTILLER, "distiller_zoo/AT.py")
def at_repdistiller(at: Any) -> Iterator[Case]:
    yield on_maps("at", at.Attention())


@compares("at", MDISTILLER, "mdistiller/distillers/AT.py")
def at_mdistiller(at: Any) -> Iterator[Case]:
    yield on_maps("at", lambda s, t: at.at_loss(s, t, p=2))


@compares("at", TORCHDISTILL, "torchdistill/losses/mid_level.py", note="`mode=code`, equal sizes")
def at_torchdistill(losses: Any) -> Iterator[Case]:
    where = {side: {"path": "map", "io": "output"} for side in ("student", "teacher")}
    loss = losses.ATLoss({"pair": where})
    student, teacher = maps((8, 4)), maps((16, 4))

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        return loss(*({"map": {"output": tensor}} for tensor in (*s, *t)))

    yield Case(paired("at", student, teacher), theirs, student, teacher)


@compares("sp", REPDISTILLER, "distiller_zoo/SP.py")
def sp_repdistiller(sp: Any) -> Iterator[Case]:
    yield on_maps("sp", sp.Similarity())


@compares("sp", MDISTILLER, "mdistiller/distillers/SP.py")
def sp_mdistiller(sp: Any) -> Iterator[Case]:
    yield on_maps("sp", sp.sp_loss)


@compares("nst", REPDISTILLER, "distiller_zoo/NST.py")
def nst_repdistiller(nst: Any) -> Iterator[Case]:
    yield on_maps("nst", nst.NSTLoss())


@compares("nst", MDISTILLER, "mdistiller/distillers/NST.py")
def nst_mdistiller(nst: Any) -> Iterator[Case]:
    yield on_maps("nst", nst.nst_loss)


@compares("fsp", REPDISTILLER, "distiller_zoo/FSP.py")
def fsp(losses: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps((8, 16), (12, 8), (16, 8))
    shapes = ([tensor.shape for tensor in tensors] for tensors in (student, teacher))
    loss = losses.FSP(*shapes)
    yield Case(paired("fsp", student, teacher), lambda s, t: total(loss(s, t)), student, teacher)


@compares(
    "kdsvd", REPDISTILLER, "distiller_zoo/KDSVD.py", note="singular vectors with a positive sum"
)
def kdsvd(losses: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps((8, 16), (12, 8), (16, 8))
    loss = losses.KDSVD()
    decompose = loss.svd

    def svd_with_signs(feature: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        left, values, right = decompose(feature, count)
        negative = right.sum(dim=1, keepdim=True) < 0
        return left, values, torch.where(negative, -right, right)

    loss.svd = svd_with_signs
    yield Case(paired("kdsvd", student, teacher), lambda s, t: total(loss(s, t)), student, teacher)


@compares("ickd", ICKD, "Cifar100/distiller_zoo/ICKD.py")
def ickd(losses: Any) -> Iterator[Case]:
    for given, taken in (((8, 8), (16, 4)), ((8, 4), (16, 8))):
        student, teacher = maps(given), maps(taken)
        term = paired("ickd", student, teacher)
        loss = losses.ICKDLoss(SimpleNamespace(s_dim=given[0], feat_dim=taken[0]))
        same_weights(term.links[0].embedding, loss.embed_s)
        yield Case(term, compared_lists(loss), student, teacher)


def compared_lists(loss: Callable[[list[Tensor], list[Tensor]], Any]) -> Loss:
    return lambda student, teacher: total(loss(student, teacher))


@compares("fitnet", REPDISTILLER, "models/util.py", "distiller_zoo/FitNet.py")
def fitnet_repdistiller(layers: Any, losses: Any) -> Iterator[Case]:
    for given, taken in REGRESSED:
        student, teacher = maps(given), maps(taken)
        term = paired("fitnet", student, teacher)
        regressor = layers.ConvReg(student[0].shape, teacher[0].shape)
        same_weights(term.links[0].regressor, regressor)
        loss = losses.HintLoss()
        yield Case(term, regressed(regressor, loss), student, teacher)


@compares("fitnet", MDISTILLER, "mdistiller/distillers/_common.py")
def fitnet_mdistiller(layers: Any) -> Iterator[Case]:
    for given, taken in REGRESSED:
        student, teacher = maps(given), maps(taken)
        term = paired("fitnet", student, teacher)
        regressor = layers.ConvReg(student[0].shape, teacher[0].shape)
        same_weights(term.links[0].regressor, regressor)
        yield Case(term, regressed(regressor, F.mse_loss), student, teacher)


# The student's map is twice the teacher's, half, as large, and larger by something else.
REGRESSED = [
    ((8, 8), (16, 4)),
    ((8, 4), (16, 8)),
    ((8, 4), (16, 4)),
    ((8, 7), (16, 4)),
]


def regressed(
    regressor: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[list[Tensor], list[Tensor]], Tensor]:
    return lambda student, teacher: loss(regressor(*student), *teacher)


@compares(
    "ft",
    REPDISTILLER,
    "models/util.py",
    "distiller_zoo/FT.py",
    note="`learns=translator` and `both`",
)
def ft(layers: Any, losses: Any) -> Iterator[Case]:
    for learns in ("translator", "both"):
        student, teacher = maps((8, 8)), maps((16, 4))
        term = paired("ft", student, teacher, learns=learns)
        (link,), shapes = term.links, (student[0].shape, teacher[0].shape)
        translator = same_weights(link.translator, layers.Translator(*shapes))
        paraphraser = layers.Paraphraser(shapes[1], use_bn=learns == "both").double()
        same_weights(link.encoder, paraphraser.encoder)
        yield Case(term, factors(losses, translator, paraphraser), student, teacher)


def factors(losses: Any, translator: Any, paraphraser: Any) -> Loss:
    loss = losses.FactorTransfer()
    return lambda student, teacher: loss(
        translator(*student), paraphraser(*teacher, is_factor=True)
    )


@compares("vid", REPDISTILLER, "distiller_zoo/VID.py")
def vid_repdistiller(vid: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term = paired("vid", student, teacher)
    losses = [
        vid.VIDLoss(given[0], taken[0], taken[0])
        for given, taken in zip(STUDENT, TEACHER, strict=True)
    ]
    for link, loss in zip(term.links, losses, strict=True):
        same_weights(link, loss)
    yield Case(
        term,
        lambda s, t: total(loss(*pair) for loss, *pair in zip(losses, s, t, strict=True)),
        student,
        teacher,
    )


@compares("vid", MDISTILLER, "mdistiller/distillers/VID.py")
def vid_mdistiller(vid: Any) -> Iterator[Case]:
    student, teacher = maps(*STUDENT), maps(*TEACHER)
    term = paired("vid", student, teacher)
    parts = nn.Module()
    parts.init_pred_var, parts.eps = 5.0, 1e-5
    vid.VID.init_vid_modules(parts, *([c for c, _ in sides] for sides in (STUDENT, TEACHER)))
    for link, regressor in zip(term.links, parts.regressors, strict=True):
        same_weights(link.mean, regressor)
    scales = [link.scale.detach().flatten() for link in term.links]

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        pairs = zip(parts.regressors, scales, s, t, strict=True)
        return total(vid.vid_loss(*given) for given in pairs)

    yield Case(term, theirs, student, teacher)
