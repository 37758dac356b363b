"""Rows of the losses on embeddings: vectors (B, D)."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from authors.comparison import Case, compares
from authors.repositories import MDISTILLER, REPDISTILLER, SIMPLE_RECIPE, TORCHDISTILL
from authors.terms import BATCH, numbers, paired, same_weights
from kdsweep.losses.base.compute_loss import compute_loss
from kdsweep.losses.crd import CRD

NEGATIVES, DIM = 12, 8


def on_embeddings(loss: str, theirs: Callable[[Tensor, Tensor], Tensor], **options: Any) -> Case:
    """A case of a term without modules."""
    student, teacher = [numbers(BATCH, 12)], [numbers(BATCH, 20)]
    term = paired(loss, student, teacher, **options)
    return Case(term, lambda s, t: theirs(*s, *t), student, teacher)


def embedding(tensor: Tensor) -> dict[str, dict[str, Tensor]]:
    """Where torchdistill's losses find it."""
    return {"embedding": {"output": tensor}}


EMBEDDINGS = ("embedding", "output", "embedding", "output")


@compares("rkd", REPDISTILLER, "distiller_zoo/RKD.py")
def rkd_repdistiller(rkd: Any) -> Iterator[Case]:
    yield on_embeddings("rkd", rkd.RKDLoss())


@compares("rkd", MDISTILLER, "mdistiller/distillers/RKD.py")
def rkd_mdistiller(rkd: Any) -> Iterator[Case]:
    yield on_embeddings("rkd", rkd.rkd_loss)


@compares("rkd", TORCHDISTILL, "torchdistill/losses/mid_level.py", note="weights 1, 2")
def rkd_torchdistill(losses: Any) -> Iterator[Case]:
    loss = losses.RKDLoss("embedding", "embedding", 1.0, 2.0, "mean")
    yield on_embeddings(
        "rkd",
        lambda s, t: loss(embedding(s), embedding(t)),
        distance_weight=1.0,
        angle_weight=2.0,
    )


@compares("pkt", REPDISTILLER, "distiller_zoo/PKT.py")
def pkt_repdistiller(pkt: Any) -> Iterator[Case]:
    yield on_embeddings("pkt", pkt.PKT())


@compares("pkt", MDISTILLER, "mdistiller/distillers/PKT.py")
def pkt_mdistiller(pkt: Any) -> Iterator[Case]:
    yield on_embeddings("pkt", pkt.pkt_loss)


@compares("pkt", TORCHDISTILL, "torchdistill/losses/mid_level.py")
def pkt_torchdistill(losses: Any) -> Iterator[Case]:
    loss = losses.PKTLoss(*EMBEDDINGS)
    yield on_embeddings("pkt", lambda s, t: loss(embedding(s), embedding(t)))


@compares("cc", REPDISTILLER, "distiller_zoo/CC.py", "models/util.py")
def cc(losses: Any, layers: Any) -> Iterator[Case]:
    student, teacher = [numbers(BATCH, 12)], [numbers(BATCH, 20)]
    term = paired("cc", student, teacher)
    embed_s, embed_t = (
        same_weights(layer, layers.LinearEmbed(layer.in_features, 128))
        for layer in (term.links[0].student, term.links[0].teacher)
    )
    loss = losses.Correlation()
    yield Case(term, lambda s, t: loss(embed_s(*s), embed_t(*t)), student, teacher)


@compares(
    "srd",
    SIMPLE_RECIPE,
    "imagenet/torchdistill/losses/single.py",
    note="`forward_loss`",
)
def srd_authors(losses: Any) -> Iterator[Case]:
    student, teacher = [numbers(BATCH, 512)], [numbers(BATCH, 512)]
    term = paired("srd", student, teacher)
    loss = losses.OurDistillationLoss().double()
    same_weights(term.links[0].projector, loss.embed)
    yield Case(term, lambda s, t: loss.forward_loss(*s, *t), student, teacher)


@compares(
    "srd",
    TORCHDISTILL,
    "torchdistill/losses/mid_level.py",
    note="half of it, with KL 0",
)
def srd_torchdistill(losses: Any) -> Iterator[Case]:
    student, teacher = [numbers(BATCH, 12)], [numbers(BATCH, 20)]
    term = paired("srd", student, teacher)
    projector, norm = term.links[0].projector, nn.BatchNorm1d(20, eps=1e-4, affine=False).double()
    loss = losses.SRDLoss(*EMBEDDINGS, "logits", "output", "logits", "output", exponent=4.0)
    logits = {"logits": {"output": numbers(BATCH, 5)}}

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        projected = embedding(norm(projector(*s)))
        return loss({**projected, **logits}, {**embedding(norm(*t)), **logits}) / 2

    yield Case(term, theirs, student, teacher)


@compares(
    "pad",
    TORCHDISTILL,
    "torchdistill/losses/mid_level.py",
    "torchdistill/models/wrapper.py",
    note="`PADL2Loss`, `VarianceBranch4PAD`",
)
def pad(losses: Any, wrappers: Any) -> Iterator[Case]:
    student, teacher = [numbers(BATCH, 12)], [numbers(BATCH, 12)]
    term = paired("pad", student, teacher)
    branch = wrappers.VarianceBranch4PAD(
        nn.Identity(), {"path": "", "io": ""}, 12, "", "cpu", None, False
    )
    variance = same_weights(term.links[0], branch.var_estimator)
    loss = losses.PADL2Loss("embedding", "embedding", module_path="variance")

    def theirs(s: list[Tensor], t: list[Tensor]) -> Tensor:
        return loss({**embedding(*s), "variance": {"output": variance(*s)}}, embedding(*t))

    yield Case(term, theirs, student, teacher)


@compares("cosine", None, note="PyTorch's `CosineEmbeddingLoss`, targets 1")
def cosine() -> Iterator[Case]:
    student, teacher = [numbers(BATCH, 12)], [numbers(BATCH, 12)]
    term, loss = paired("cosine", student, teacher), nn.CosineEmbeddingLoss()
    yield Case(term, lambda s, t: loss(*s, *t, torch.ones(BATCH)), student, teacher)


@compares(
    "crd",
    REPDISTILLER,
    "crd/criterion.py",
    note="the second step, with our draw of negatives",
)
def crd_repdistiller(crd: Any) -> Iterator[Case]:
    def built(case: Case) -> Callable[..., Tensor]:
        sizes = {"s_dim": 12, "t_dim": 20, "feat_dim": DIM, "n_data": BATCH}
        draws = {"nce_k": NEGATIVES, "nce_t": 0.07, "nce_m": 0.5}
        return with_our_state(crd.CRDLoss(SimpleNamespace(**sizes, **draws)), case)

    yield from contrastive(built)


@compares(
    "crd",
    MDISTILLER,
    "mdistiller/distillers/CRD.py",
    note="the second step, with our draw of negatives",
)
def crd_mdistiller(crd: Any) -> Iterator[Case]:
    def built(case: Case) -> Callable[..., Tensor]:
        parts = nn.Module()
        crd.CRD.init_crd_modules(parts, 12, 20, DIM, BATCH, NEGATIVES)
        with_our_state(parts, case)
        return lambda *given: crd.CRD.crd_loss(parts, *given)

    yield from contrastive(built)


def contrastive(built: Callable[[Case], Callable[..., Tensor]]) -> Iterator[Case]:
    """A case after one step on other features, which sets Z and moves the memories."""
    labels = torch.arange(BATCH) % 4
    case = Case(
        paired("crd", [numbers(BATCH, 12)], [numbers(BATCH, 20)], negatives=NEGATIVES, dim=DIM),
        lambda s, t: theirs(*s, *t, torch.arange(BATCH), drawn),
        [numbers(BATCH, 12)],
        [numbers(BATCH, 20)],
        labels,
    )
    term = case.ours
    assert isinstance(term, CRD)
    theirs, drawn = built(case), negatives_of(term, labels)
    first = [numbers(BATCH, 12)], [numbers(BATCH, 20)]
    torch.manual_seed(0)
    compute_loss(term, *first, labels)
    case.theirs(*first)
    yield case


def negatives_of(term: CRD, labels: Tensor) -> Tensor:
    """(B, 1 + K): each image's index, then those that our term draws after the same seed."""
    torch.manual_seed(0)
    counts = term.others.draw_counts(labels, NEGATIVES).long()
    drawn = [torch.arange(BATCH).repeat_interleave(row) for row in counts]
    return torch.cat([torch.arange(BATCH).unsqueeze(1), torch.stack(drawn)], dim=1)


def with_our_state(loss: nn.Module, case: Case) -> Any:
    """Their loss with our embeddings, memories and temperature, in float64."""
    assert isinstance(case.ours, CRD)
    link = case.ours.links[0]
    loss.double()
    same_weights(link.student, loss.embed_s)
    same_weights(link.teacher, loss.embed_t)
    loss.contrast.memory_v1 = link.ours.vectors.clone()
    loss.contrast.memory_v2 = link.theirs.vectors.clone()
    params = [NEGATIVES, 0.07, -1, -1, 0.5]
    loss.contrast.params = torch.tensor(params, dtype=torch.float64)
    return loss
