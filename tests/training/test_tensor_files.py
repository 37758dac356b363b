"""Safetensors files of equal content are equal byte for byte."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from kdsweep.tracking.predictions import Predictions, load_predictions, save_predictions
from kdsweep.training.tensor_files import tensors_as_bytes

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "bias": torch.ones(3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
}
METADATA = {
    "fingerprint": "0123456789ab",
    "cell": 'kl T=4 "quoted" \\ back',
    "seed": "0",
    "model": json.dumps({"_target_": "kdsweep.models.mlp.MLP", "width": 8}),
    "classes": json.dumps(["猫", "Süß", "tab\there", "\x7f\u2028"], ensure_ascii=False),
}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """safetensors alone writes five names of metadata in one of 120 orders."""
    for turn in range(8):
        shuffled = dict(reversed(METADATA.items())) if turn % 2 else METADATA
        (tmp_path / str(turn)).write_bytes(tensors_as_bytes(TENSORS, shuffled))
    assert len({(tmp_path / str(turn)).read_bytes() for turn in range(8)}) == 1


def test_any_reader_of_safetensors_reads_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(tensors_as_bytes(TENSORS, METADATA))
    found = load_file(tmp_path / "file")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == METADATA


def test_no_metadata_and_no_tensors_will_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(tensors_as_bytes({}))
    assert load_file(tmp_path / "file") == {}


def test_answers_too(tmp_path: Path) -> None:
    logits, labels = np.zeros((2, 3), np.float32), np.array([0, 1])
    answers = Predictions({"test": logits}, {"test": labels}, ("a", "b", "c"), "digest")
    for turn in range(8):
        save_predictions(tmp_path / str(turn), answers)
    assert len({(tmp_path / str(turn)).read_bytes() for turn in range(8)}) == 1
    assert load_predictions(tmp_path / "0").teacher == "digest"
