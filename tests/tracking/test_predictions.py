"""Predictions on disk: every logit to the bit, with its label."""

from pathlib import Path

import numpy as np
import pytest

from kdsweep.tracking.predictions import (
    Predictions,
    load_predictions,
    save_predictions,
    save_teacher_predictions,
)


def made(teacher: str | None = None, shift: float = 0.0) -> Predictions:
    generator = np.random.default_rng(0)
    logits = {
        split: (generator.normal(size=(n, 3)) + shift).astype(np.float32)
        for split, n in (("val", 4), ("test", 6))
    }
    labels = {split: found.argmin(1) for split, found in logits.items()}
    return Predictions(logits, labels, ("cat", "dog", "Süßwassermuräne"), teacher)


def test_what_was_saved_is_read_back_to_the_bit(tmp_path: Path) -> None:
    saved = made(teacher="f00d")
    save_predictions(tmp_path / "answers.safetensors", saved)
    found = load_predictions(tmp_path / "answers.safetensors")
    assert found.classes == saved.classes
    assert found.teacher == "f00d"
    assert set(found.logits) == set(found.labels) == {"val", "test"}
    for split in ("val", "test"):
        assert found.logits[split].dtype == np.float32
        assert np.array_equal(found.logits[split], saved.logits[split])
        assert np.array_equal(found.labels[split], saved.labels[split])


def test_a_teacher_is_kept_once_under_the_digest_of_its_logits(tmp_path: Path) -> None:
    first = save_teacher_predictions(tmp_path / "answers", made())
    assert save_teacher_predictions(tmp_path / "answers", made()) == first
    assert save_teacher_predictions(tmp_path / "answers", made(shift=1.0)) != first
    assert len(list((tmp_path / "answers").iterdir())) == 2
    assert load_predictions(tmp_path / "answers" / f"{first}.safetensors").digest == first


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "answers.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match=r"answers\.safetensors must be a safetensors file"):
        load_predictions(tmp_path / "answers.safetensors")
    with pytest.raises(FileNotFoundError):
        load_predictions(tmp_path / "none.safetensors")
