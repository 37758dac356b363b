"""A model that is registered in MLflow, by its alias or its version."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import written

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.sources import find_bundle
from kdsweep.errors import UserError
from kdsweep.tracking.mlflow.store import MLflowStore

NAME = "student"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)


pytestmark = pytest.mark.slow  # a real registry


@pytest.fixture
def store(fresh_database: Path, tmp_path: Path) -> MLflowStore:
    """A registry with two versions of a model; the first one is the champion."""
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    store = MLflowStore.open("sqlite:///mlflow.db", "kdsweep", cwd=tmp_path)
    store.client.create_registered_model(NAME)
    for seed in (1, 2):
        folder = written(tmp_path / f"version{seed}" / "artifacts" / "model", seed)
        store.client.create_model_version(NAME, str(folder.parent))
    store.client.set_registered_model_alias(NAME, "champion", "1")
    return store


def loaded(word: str, store: MLflowStore, downloads: Path) -> torch.Tensor:
    return read_bundle(find_bundle(word, lambda: store, downloads)).logits(IMAGES)


def test_an_alias_or_a_version_is_downloaded(store: MLflowStore, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    first, second = (
        read_bundle(tmp_path / f"version{seed}" / "artifacts" / "model").logits(IMAGES)
        for seed in (1, 2)
    )
    for word in ("models:/student@champion", "models:/student/1"):
        assert torch.equal(loaded(word, store, downloads), first)
    store.client.set_registered_model_alias(NAME, "champion", "2")
    for word in ("models:/student@champion", "models:/student/2", "models:/student/latest"):
        assert torch.equal(loaded(word, store, downloads), second)


@pytest.mark.parametrize("name", ["m-net", "it's"])
def test_a_name_like_an_id_or_with_a_quote_is_a_name(
    store: MLflowStore, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "version1" / "artifacts" / "model"
    store.client.create_registered_model(name)
    store.client.create_model_version(name, str(folder.parent))
    expected = read_bundle(folder).logits(IMAGES)
    for word in (f"models:/{name}/1", f"models:/{name}/latest"):
        assert torch.equal(loaded(word, store, tmp_path / "downloads"), expected)


@pytest.mark.parametrize("word", ["student@nobody", "student/7", "teacher@champion", "student"])
def test_what_is_not_registered_is_refused(store: MLflowStore, tmp_path: Path, word: str) -> None:
    with pytest.raises(UserError, match=r"^SOURCE must be a model registered in MLflow") as caught:
        find_bundle(f"models:/{word}", lambda: store, tmp_path / "downloads")
    assert "\n" not in str(caught.value)


def test_a_model_of_another_program_is_refused(store: MLflowStore, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.pkl").touch()
    store.client.create_model_version(NAME, str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"^SOURCE must be a model with a classifier\.json"):
        find_bundle("models:/student/3", lambda: store, tmp_path / "downloads")
