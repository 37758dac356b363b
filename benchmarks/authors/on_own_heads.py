"""Rows of the losses that train heads of the student: DeiT's second head, OFA's on its stages."""

from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from authors.comparison import Case, compares
from authors.repositories import DEIT, OFAKD
from authors.terms import BATCH, CLASSES, numbers, ours, same_weights
from kdsweep.losses.base.compute_loss import as_output, compute_loss
from kdsweep.losses.base.hard_label import cross_entropy
from kdsweep.losses.base.term import Term
from kdsweep.models.components.feature_extractor import FeatureExtractor
from kdsweep.models.vit import VisionTransformer

SIDE = 32  # of DeiT's images
EMBEDDING, TEACHER_EMBEDDING = 24, 20  # dimensions
MAPS = (6, 16), (12, 8), (18, 4), (24, 2)  # (channels, size) of four stages
GRIDS = 4, 14  # patches on a side: as they are, and merged


@compares("deit", DEIT, "losses.py", note="with CE; hard, and soft at tau = 1, 3; both heads")
def deit(losses: Any) -> Iterator[Case]:
    for kind, alpha, tau in (("hard", 0.5, 1.0), ("soft", 0.5, 1.0), ("soft", 0.1, 3.0)):
        labels = torch.randint(CLASSES, (BATCH,))
        term = ours("deit", kind=kind, tau=tau, weight=alpha)
        heads, teacher = [3 * numbers(BATCH, CLASSES) for _ in range(2)], numbers(BATCH, CLASSES)
        criterion = losses.DistillationLoss(
            nn.CrossEntropyLoss(), lambda images: images, kind, alpha, tau
        )
        yield Case(
            weighted_sum(term, 1 - alpha, labels),
            lambda s, t, loss=criterion, y=labels: loss(*t, tuple(s), y),
            heads,
            [4 * teacher],
        )


@compares("deit", DEIT, "models.py", note="the network: both heads in training, their mean after")
def tokens(models: Any) -> Iterator[Case]:
    size = {"num_classes": CLASSES, "depth": 2}
    network = VisionTransformer(
        (3, SIDE, SIDE), patch=8, width=24, heads=3, distillation_token=True, **size
    )
    network.set_distilled_training()
    published = models.DistilledVisionTransformer(
        **{"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "num_heads": 3, **size},
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    for parameter in network.parameters():  # zeros and ones hide errors
        parameter.data += 0.1 * torch.randn(parameter.shape)
    published.double().load_state_dict(network.state_dict())
    own = FeatureExtractor(network, ["head_dist"])
    for is_training in (True, False):
        yield Case(
            lambda s, t, mode=is_training: both_heads(own, s[0], mode),
            lambda s, t, mode=is_training: side_by_side(published.train(mode)(s[0])),
            [numbers(BATCH, 3, SIDE, SIDE)],
            [],
        )


def both_heads(network: FeatureExtractor, images: Tensor, is_training: bool) -> Tensor:
    network.model.to(images.dtype).train(is_training)
    output = network(images)
    return side_by_side((output.logits, output.features["head_dist"]) if is_training else output[0])


def side_by_side(logits: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """A number of all logits in which none has the weight of another."""
    whole = logits if isinstance(logits, Tensor) else torch.cat(logits, dim=1)
    return (whole * torch.linspace(0.5, 2, whole.numel(), dtype=whole.dtype).view_as(whole)).sum()


@compares(
    "ofa",
    OFAKD,
    "distillers/ofa.py",
    note="with CE; four maps, rows of tokens with a class token and without, eps of timm 0.6.5",
)
def ofa(distillers: Any) -> Iterator[Case]:
    maps = [numbers(BATCH, channels, size, size) for channels, size in MAPS]
    yield ofa_case(distillers, maps, prefix=0)
    for prefix in (1, 0):
        for grid in GRIDS:
            tokens = [numbers(BATCH, grid**2 + prefix, EMBEDDING) for _ in range(4)]
            yield ofa_case(distillers, tokens, prefix)


def ofa_case(distillers: Any, stages: list[Tensor], prefix: int) -> Case:
    """Their distiller of a student with these stages, its heads with our weights."""
    labels, eps = torch.randint(CLASSES, (BATCH,)), [1.0, 1.2, 1.5, 0.8, 1.1]
    names = [f"stage{number}" for number in range(4)]
    options = {"stages": names, "embeddings": [["embedding", "embedding"]], "T": 2.0}
    term = ours("ofa", **options, eps=eps, stage_weight=0.7, logit_weight=0.3)
    term.prefix = prefix
    student = [numbers(BATCH, CLASSES), *stages, numbers(BATCH, EMBEDDING)]
    teacher = [2 * numbers(BATCH, CLASSES), numbers(BATCH, TEACHER_EMBEDDING)]
    term.setup(as_output(term, student, 0), as_output(term, teacher, 1), labels)
    for parameter in term.parameters():
        parameter.data = (parameter.data + 0.1 * torch.randn(parameter.shape)).float().double()
    args = SimpleNamespace(
        **{"ofa_eps": eps, "ofa_stage": [1, 2, 3, 4], "ofa_temperature": 2.0},
        **{"ofa_loss_weight": 0.7, "kd_loss_weight": 0.3, "gt_loss_weight": 1.0},
        num_classes=CLASSES,
    )
    network = StudentWithStages([stage.shape[1:] for stage in stages], prefix)
    distiller = distillers.OFA(network, TeacherWithLogits(), nn.CrossEntropyLoss(), args)
    same_weights(term.heads, distiller.projector)
    for module in distiller.projector.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5  # as in timm 0.6.5, which they require; later ones have 1e-6

    def theirs(s: Sequence[Tensor], t: Sequence[Tensor]) -> Tensor:
        network.outputs, distiller.teacher.outputs = s, t
        _, losses = distiller(None, labels)
        # The embeddings set the width of the heads alone.
        return sum(losses.values()) + 0 * s[-1].sum()

    return Case(weighted_sum(term, 1.0, labels, unused=-1), theirs, student, teacher)


class StudentWithStages:
    """A student as their distiller calls it, with outputs that are given."""

    outputs: Sequence[Tensor]

    def __init__(self, shapes: Sequence[torch.Size], num_tokens: int) -> None:
        self.shapes, self.num_tokens = shapes, num_tokens

    def stage_info(self, stage: int) -> tuple[int, Any]:
        return stage, EMBEDDING if stage == -1 else self.shapes[stage - 1]

    def __call__(self, image: None, requires_feat: bool) -> tuple[Tensor, Sequence[Tensor]]:
        return self.outputs[0], self.outputs


class TeacherWithLogits:
    """A teacher as their distiller calls it."""

    outputs: Sequence[Tensor]

    def stage_info(self, stage: int) -> tuple[int, int]:
        return stage, TEACHER_EMBEDDING

    def eval(self) -> None:
        pass

    def __call__(self, image: None) -> Tensor:
        return self.outputs[0]


def weighted_sum(term: Term, hard_weight: float, labels: Tensor, unused: int | None = None) -> Any:
    """The objective of a term and the cross-entropy of the first tensor, the student's logits."""

    def objective(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        # Of copies: BatchNorms keep what they have seen.
        single = student[0].dtype == torch.float32
        own = term.float() if single else term.double()
        value = own.weight * compute_loss(own, student, teacher, labels)
        value = value + hard_weight * cross_entropy(student[0], labels)
        return value if unused is None else value + 0 * student[unused].sum()

    return objective
