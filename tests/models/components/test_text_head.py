"""Classification by embeddings of the classes' names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from kdsweep.models.components.text_head import TextHead, read_texts

NAMES = ["cat", "dog", "owl"]


def write(path: Path, tensors: Any = None, **metadata: Any) -> str:
    given = {"classes": json.dumps(NAMES), **metadata}
    tensors = {"embeddings": torch.rand(3, 4) + 0.1} if tensors is None else tensors
    save_file(tensors, path, {k: v for k, v in given.items() if v is not None})
    return str(path)


def test_logits_are_cosines_times_the_scale(tmp_path: Path) -> None:
    embeddings, vectors = torch.randn(3, 4), torch.randn(5, 4)
    texts = read_texts(write(tmp_path / "a.safetensors", {"e": embeddings}, logit_scale="30"))
    head = TextHead(texts.classes, 4)
    head.load_state_dict({"weight": texts.weight})
    cosines = F.cosine_similarity(vectors[:, None], embeddings[None], dim=2)
    torch.testing.assert_close(head(vectors), 30 * cosines)
    head.arrange(["owl", "cat"])
    torch.testing.assert_close(head(vectors), 30 * cosines[:, [2, 0]])


def test_the_scale_is_clip_s_if_it_is_not_given(tmp_path: Path) -> None:
    weight = read_texts(write(tmp_path / "a.safetensors")).weight
    torch.testing.assert_close(weight.norm(dim=1), torch.full((3,), 100.0))


def test_every_class_needs_a_text() -> None:
    with pytest.raises(ValueError, match=r"^texts must have an embedding .* got none of ant, bee$"):
        TextHead(NAMES, 4).arrange(["cat", "ant", "bee"])


@pytest.mark.parametrize(
    ("tensors", "metadata", "reason"),
    [
        ({"a": torch.rand(3, 4), "b": torch.rand(3, 4)}, {}, "with a, b"),
        ({"a": torch.rand(3)}, {}, "with a"),
        ({"a": torch.rand(2, 4)}, {}, "with 3 names for 2 rows"),
        (None, {"classes": None}, "classes"),
        (None, {"classes": "cat, dog"}, r"\("),
        (None, {"classes": '["cat", "cat", "dog"]'}, "with embeddings"),
        (None, {"logit_scale": "-1"}, "a logit_scale of -1"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, tensors: Any, metadata: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path / "a.safetensors", tensors, **metadata)
    with pytest.raises(ValueError, match=rf"^texts must be safetensors with one .*{reason}"):
        read_texts(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^texts must be .*, which does not exist"):
        read_texts(str(tmp_path / "nothing"))
    (tmp_path / "pickle").write_bytes(b"\x80\x04nothing")
    with pytest.raises(ValueError, match=r"^texts must be safetensors with one"):
        read_texts(str(tmp_path / "pickle"))
