"""The names of the classes of a file of weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kdsweep.training.weight_labels import class_labels, write_labels

WEIGHTS = {"head.weight": torch.zeros(2, 3)}


def test_they_are_metadata_of_a_file_of_kdsweep(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file(WEIGHTS, file, {"classes": '["cat", "dog"]'})
    assert class_labels(str(file)) == ("cat", "dog")
    assert class_labels(f"{file}:head") == ("cat", "dog")


def test_they_are_written_next_to_the_weights_of_a_library(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file(WEIGHTS, file)
    write_labels(file, None)
    assert class_labels(str(file)) is None
    write_labels(file, ("owl", "cat"))
    assert class_labels(str(file)) == ("owl", "cat")


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"1": "dog", "0": "cat"}}, ("cat", "dog")),
        ({"label_names": ["cat", "dog"]}, ("cat", "dog")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None),
        ({"id2label": {"0": "cat", "2": "dog"}}, None),
        ({"id2label": {"first": "cat"}}, None),
        ({"label_names": "cat"}, None),
        ({"label_names": [1, 2]}, None),
        ({}, None),
        ([], None),
    ],
)
def test_they_are_in_the_config_of_a_folder(
    tmp_path: Path, config: object, labels: tuple[str, ...] | None
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(WEIGHTS, file)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert class_labels(str(file)) == labels
    save_file(WEIGHTS, tmp_path / "other.safetensors")  # the config is not of this file
    assert class_labels(str(tmp_path / "other.safetensors")) is None


@pytest.mark.parametrize("metadata", [{"classes": "cat, dog"}, {"classes": "[1, 2]"}, {}])
def test_other_metadata_are_none(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file(WEIGHTS, tmp_path / "a.safetensors", metadata)
    assert class_labels(str(tmp_path / "a.safetensors")) is None


def test_a_file_that_is_missing_or_of_torch_has_none(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth")
    assert class_labels(str(tmp_path / "a.pth")) is None
    assert class_labels(str(tmp_path / "b.pth")) is None
