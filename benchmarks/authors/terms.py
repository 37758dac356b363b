"""Our terms with the options of their yaml, and the same weights in their modules."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from torch import Tensor, nn

from authors.comparison import Case, Loss
from kdsweep.cli import CONF
from kdsweep.losses.base.compute_loss import as_output
from kdsweep.losses.base.term import Term

BATCH, CLASSES = 16, 10
T = 4.0  # of every term on logits that leaves it to the root


def ours(loss: str, **options: Any) -> Term:
    """The term of conf/loss with the root's T=4 and alpha=0.9; ``options`` override it."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / "loss" / f"{loss}.yaml"))[loss]
    del node["schedule"]
    config = OmegaConf.create({"T": T, "alpha": 0.9, "loss": {**node, **options}})
    given = OmegaConf.to_container(config, resolve=True)["loss"]
    return get_class(given.pop("_target_"))(**given)


def paired(loss: str, student: Sequence[Tensor], teacher: Sequence[Tensor], **options: Any) -> Term:
    """The same of a term on features, set up for these, with weights away from their start."""
    names = [f"feature{number}" for number in range(len(student))]
    term = ours(loss, pairs=[[name, name] for name in names], **options)
    outputs = as_output(term, student, 0), as_output(term, teacher, 1)
    term.setup(*outputs, torch.arange(BATCH) % CLASSES)
    for parameter in term.parameters():
        noise = 0.1 * torch.randn(parameter.shape)
        parameter.data = (parameter.data + noise).float().double()
    return term


def same_weights(source: nn.Module, target: nn.Module) -> nn.Module:
    """``target`` in float64 with the parameters of ``source``, which has as many in equal order."""
    target.double()
    for given, taken in zip(source.parameters(), target.parameters(), strict=True):
        taken.data = given.data.clone().view_as(taken)
    return target


def on_logits(term: Term | Loss, theirs: Callable[..., Tensor], *, labels: bool = False) -> Case:
    """A case on random logits; ``theirs`` is called with student's and teacher's, and labels."""
    given = [torch.randint(CLASSES, (BATCH,))] if labels else []
    return Case(
        term,
        lambda student, teacher: theirs(*student, *teacher, *given),
        [3 * numbers(BATCH, CLASSES)],
        [4 * numbers(BATCH, CLASSES)],
        given[0] if given else None,
    )


def numbers(*shape: int) -> Tensor:
    """Normal float32 numbers in float64."""
    return torch.randn(shape).double()


def maps(*shapes: tuple[int, int]) -> list[Tensor]:
    """For each of (channels, size)."""
    return [numbers(BATCH, channels, size, size) for channels, size in shapes]


def total(values: Iterable[Tensor]) -> Tensor:
    return torch.stack([value.squeeze() for value in values]).sum()
