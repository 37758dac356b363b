"""Files of weights are recognised by their content, and nothing in them is executed."""

import argparse
import pickle
import re
import tarfile
import zipfile
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdsweep.training.weight_files import read_weight_file

LEGACY = {"_use_new_zipfile_serialization": False}


def linear() -> dict[str, torch.Tensor]:
    return nn.Linear(3, 2).state_dict()


class Payload:
    """What a hostile file would carry."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/kdsweep-was-here"),)  # type: ignore[return-value]


class Net(nn.Sequential):
    """A class that the program which wrote the file has."""


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=r"^must be a file of weights, got ") as caught:
        read_weight_file(path)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ""])
def test_the_content_decides_and_not_the_suffix(tmp_path: Path, suffix: str) -> None:
    path, state = tmp_path / f"weights{suffix}", linear()
    for write in (save_file, torch.save):
        write(state, path)
        assert torch.equal(read_weight_file(path).tree["weight"], state["weight"])
    torch.save(state, path, **LEGACY)
    assert torch.equal(read_weight_file(path).tree["weight"], state["weight"])


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_objects_of_other_programs_are_neither_imported_nor_called(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    beside: dict[str, Any] = {
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.7),
        "curve": np.arange(3.0),
        "folder": Path("runs"),
        "history": defaultdict(list, acc=[0.1]),
    }
    torch.save({"state_dict": linear(), **beside}, tmp_path / "own.pt", **options)
    content = read_weight_file(tmp_path / "own.pt")
    assert set(content.tree["state_dict"]) == {"weight", "bias"}
    assert "argparse.Namespace" in content.foreign
    assert not isinstance(content.tree["args"], argparse.Namespace)


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_scalars_of_numpy_2_and_of_numpy_1(tmp_path: Path, module: bytes) -> None:
    """RepDistiller's files have such accuracies next to the weights."""
    path, state = tmp_path / "ckpt_epoch_240.pth", linear()
    accuracies = {"best_acc": np.float64(72.3), "test_acc": np.float32(70.1), "top5": np.arange(2)}
    torch.save({"epoch": 240, "model": state, **accuracies}, path, **LEGACY)
    path.write_bytes(re.sub(rb"numpy\._?core\.multiarray", module, path.read_bytes()))
    content = read_weight_file(path)
    assert f"{module.decode()}.scalar" in content.foreign
    assert torch.equal(content.tree["model"]["weight"], state["weight"])


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"weight": Payload()}))
    torch.save({"weight": nn.Linear(2, 2)}, tmp_path / "module.pt")
    torch.save({"state_dict": linear(), "hook": Payload()}, tmp_path / "evil.pt")
    for name in ("evil.pkl", "module.pt", "evil.pt"):
        with pytest.raises(ValueError, match="pickled objects; those are never loaded"):
            read_weight_file(tmp_path / name)
    assert not Path("/tmp/kdsweep-was-here").exists()


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_a_whole_model_is_named_with_its_class(tmp_path: Path, options: dict[str, Any]) -> None:
    for content in (Net(nn.Linear(2, 2)), {"epoch": 3, "model": Net(nn.Linear(2, 2))}):
        torch.save(content, tmp_path / "whole.pt", **options)
        sentence = refused(tmp_path / "whole.pt")
        assert "FILE, which is a whole model (" in sentence
        assert (".Net)" if not options else "(torch.nn.modules.") in sentence
        assert "of pickled objects; those are never loaded; " in sentence
        assert sentence.endswith("torch.save(model.state_dict(), FILE) writes its weights alone")


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing.pt").endswith("FILE, which does not exist")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    assert "FILE, which is damaged" in refused(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_file(tmp_path: Path, kind: str, kept: float) -> None:
    path = tmp_path / "weights.pt"
    state = {"weight": torch.randn(64, 64), "bias": torch.zeros(64)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, **(LEGACY if kind == "legacy" else {}))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "FILE, which is damaged" in (sentence := refused(path))
    assert sentence.endswith("copy or download it again")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FILES = [
    (b"", "is empty; copy or download it again"),
    (LFS, "is a git-lfs pointer, not the file itself; run `git lfs pull`"),
    (b"\n<!DOCTYPE html><html>", "is a web page, not the file itself; download the file that"),
    (b'<?xml version="1.0"?><Error>AccessDenied', "is a web page, not the file itself"),
    (b'{"error": "gated"}', "is a JSON file; name the file of weights itself"),
    (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "is a gzip archive; unpack it"),
    (b"\x89HDF\r\n\x1a\n\x00", "is an HDF5 file, as Keras writes them"),
    (b"\x93NUMPY\x01\x00v\x00", "is a NumPy array"),
    (b"epoch,accuracy\n1,0.4\n", "is neither a safetensors file nor one that torch.save has"),
    (b"\x10\x00\x00\x00\x00\x00\x00\x00{not json at all}", "is damaged: its header cannot be"),
]


@pytest.mark.parametrize(("content", "what"), FILES)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert f"FILE, which {what}" in refused(tmp_path / "model.pt")


def test_an_archive_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py"):
            archive.writestr(name, b"")
    assert "is a TorchScript archive; torch.save(torch.jit.load(FILE).state_dict()" in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("models/model.json", b"")
        archive.writestr("archive_format", b"pt2")
    assert "is a program of torch.export; " in refused(path)
    with path.open("wb") as file:
        np.savez(file, weight=np.zeros(2))
    assert "is an archive of NumPy arrays; " in refused(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")
    assert "is a zip archive of something else (photo.jpg); unpack it" in refused(path)
    with tarfile.open(path, "w") as bundle:
        bundle.add(__file__, "test.py")
    assert "is a tar archive; unpack it" in refused(path)


def test_a_file_without_tensors_is_named_by_what_it_holds(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "args.pt")
    assert "FILE, which holds no tensors but pickled objects; those are never loaded" in refused(
        tmp_path / "args.pt"
    )


def test_a_content_that_contains_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"args": argparse.Namespace(lr=0.1)}
    content["self"] = content
    torch.save(content, tmp_path / "loop.pt")
    assert "FILE, which holds no tensors but" in refused(tmp_path / "loop.pt")


def test_a_later_pickle_protocol_is_named(tmp_path: Path) -> None:
    torch.save(linear(), tmp_path / "four.pt", pickle_protocol=4)
    assert refused(tmp_path / "four.pt").endswith(
        "FILE, which has pickle protocol 4; torch.save without pickle_protocol writes one that is"
        " read"
    )


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_with_changed_bytes_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    path, random = tmp_path / "weights.pt", Random(0)
    if kind == "safetensors":
        save_file(linear(), path)
    else:
        content = {"model": linear(), "args": argparse.Namespace(lr=0.1)}
        torch.save(content, path, **(LEGACY if kind == "legacy" else {}))
    whole = path.read_bytes()
    for _ in range(50):
        changed = bytearray(whole)
        for _ in range(random.choice([1, 2, 8])):
            changed[random.randrange(len(changed))] = random.randrange(256)
        path.write_bytes(changed)
        with suppress(ValueError):
            read_weight_file(path)
