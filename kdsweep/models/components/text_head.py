"""A classifier whose weights are embeddings of texts, one for each class: zero-shot, as in CLIP.

    logits_c = scale * cos(v, e_c),  v the vector of an image, e_c the embedding of a class's text

Radford et al. 2021, arXiv 2103.00020. The texts are embedded elsewhere; a file has the result:
safetensors with one tensor (classes, D), and as metadata `classes`, a JSON list of their names,
and `logit_scale`, the scale (100 if it is not there, as in CLIP).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kdsweep.common.validation import is_finite_number

TEXT_HEAD = "text_head"  # the module of a network that has one
CLIP_SCALE = 100.0
FORM = "safetensors with one tensor (classes, D) and the names of the classes as metadata"


class Texts(NamedTuple):
    """What a file has: the names, and the weights (classes, D), rows of length `logit_scale`."""

    classes: tuple[str, ...]
    weight: Tensor


class TextHead(nn.Module):
    """(B, D) -> (B, C): the classes of the data set, of those that there are embeddings of."""

    order: Tensor | None

    def __init__(self, classes: Sequence[str], width: int) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.weight = nn.Parameter(torch.zeros(len(self.classes), width))
        self.register_buffer("order", None, persistent=False)  # None: all of them, as they are

    def arrange(self, names: Sequence[str]) -> None:
        """Give logits for the classes of these names, in their order. Raises ValueError."""
        if absent := [name for name in names if name not in self.classes]:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            raise ValueError(
                "texts must have an embedding of every class of the data set, got none of"
                f" {', '.join(absent[:3])}{more}"
            )
        self.order = torch.tensor([self.classes.index(name) for name in names])

    def forward(self, vectors: Tensor) -> Tensor:
        logits = F.linear(F.normalize(vectors, dim=1), self.weight)
        return logits if self.order is None else logits.index_select(1, self.order)


def arrange_classes(model: nn.Module, names: Sequence[str]) -> None:
    """Have a network with a `TextHead` give the logits of these classes. Raises ValueError."""
    head = getattr(model, TEXT_HEAD, None)
    if isinstance(head, TextHead):
        head.arrange(names)


def read_texts(file: str) -> Texts:
    """The embeddings in a file. Raises ValueError for a file of another form."""
    if not Path(file).is_file():
        raise ValueError(f"texts must be {FORM}, got {file}, which does not exist")
    try:
        with safe_open(file, framework="pt") as content:
            metadata, names = content.metadata() or {}, list(content.keys())
            tensors = [content.get_tensor(name) for name in names]
        classes, scale = json.loads(metadata["classes"]), metadata.get("logit_scale", CLIP_SCALE)
        length = float(scale)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"texts must be {FORM}, got {file} ({error})") from error
    is_one = len(tensors) == 1 and tensors[0].ndim == 2 and tensors[0].is_floating_point()
    are_names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not is_one or not are_names or len(set(classes)) != len(classes):
        raise ValueError(f"texts must be {FORM}, got {file} with {', '.join(names) or 'none'}")
    if len(classes) != len(tensors[0]) or not (is_finite_number(length) and length > 0):
        raise ValueError(
            f"texts must be {FORM}, got {file} with {len(classes)} names for {len(tensors[0])} rows"
            f" and a logit_scale of {scale}"
        )
    return Texts(tuple(classes), length * F.normalize(tensors[0].float(), dim=1))
