"""The part of a file that fits a network is found by names and shapes, and must be the only one."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdsweep.training.weight_match import load_file_into

State = dict[str, Tensor]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


def state(seed: int = 0) -> State:
    return dict(network(seed).state_dict())


def prefixed(prefix: str, given: State) -> State:
    return {prefix + name: tensor for name, tensor in given.items()}


def loaded(folder: Path, content: Any, part: str = "") -> tuple[str | None, nn.Module]:
    """How a file of this content was read, with the file's name, and the network."""
    path, model = folder / "model.pt", network(seed=9)
    torch.save(content, path)
    line = load_file_into(model, f"{path}{part}")
    return line and line.replace(str(path), "FILE"), model


def refused(folder: Path, content: Any, part: str = "") -> str:
    with pytest.raises(ValueError, match="must ") as caught:
        loaded(folder, content, part)
    return str(caught.value).replace(str(folder / "model.pt"), "FILE")


def are_those(model: nn.Module, given: State) -> bool:
    return all(torch.equal(tensor, given[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "student.", "teacher.net."],
)
def test_a_prefix_that_all_names_share_is_removed(tmp_path: Path, prefix: str) -> None:
    line, model = loaded(tmp_path, prefixed(prefix, state()))
    assert line == f"read FILE, prefix {prefix!r} removed"
    assert are_those(model, state())


KEYS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema", "weights")


@pytest.mark.parametrize("key", KEYS)
def test_weights_in_a_mapping_are_found_whatever_its_name(tmp_path: Path, key: str) -> None:
    optimizer = torch.optim.AdamW(network().parameters())
    network()(torch.zeros(2, 1, 3, 3)).sum().backward()
    optimizer.step()
    content = {"epoch": 3, key: state(), "optimizer": optimizer.state_dict()}
    line, model = loaded(tmp_path, content)
    assert line == f"read {key!r} of FILE"
    assert are_those(model, state())


def test_all_of_it_at_once_is_one_line(tmp_path: Path) -> None:
    half = {name: t.half() if t.is_floating_point() else t for name, t in state().items()}
    del half["1.num_batches_tracked"]
    content = {
        "model_state_dict": prefixed("module.", half),
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.71),
    }
    line, model = loaded(tmp_path, content)
    assert line is not None
    assert line.startswith(
        "read 'model_state_dict' of FILE, prefix 'module.' removed, float16 cast to float32,"
        " 1 num_batches_tracked missing, objects of 'argparse.Namespace', 'numpy"
    )
    expected = {name: tensor.to(state()[name].dtype) for name, tensor in half.items()}
    assert are_those(model, {**expected, "1.num_batches_tracked": torch.tensor(0)})
    assert all(p.dtype is torch.float32 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_are_cast_to_those_of_the_network(tmp_path: Path, dtype: torch.dtype) -> None:
    given = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state().items()}
    save_file(given, tmp_path / "model.bin")
    model = network(seed=9)
    line = load_file_into(model, str(tmp_path / "model.bin"))
    assert line == f"read {tmp_path}/model.bin, {str(dtype)[6:]} cast to float32"
    assert all(
        torch.equal(tensor, given[name].to(tensor.dtype))
        for name, tensor in model.state_dict().items()
    )


def test_just_the_networks_names_and_types_are_nothing_to_tell(tmp_path: Path) -> None:
    line, model = loaded(tmp_path, state())
    assert line is None
    assert are_those(model, state())


def test_one_network_among_others_is_found_by_its_shapes(tmp_path: Path) -> None:
    wide = dict(nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)).state_dict())
    both = {
        **prefixed("student.", state()),
        **prefixed("teacher.", wide),
        "loss.weight": wide["0.bias"],
    }
    line, model = loaded(tmp_path, {"state_dict": both})
    assert line == (
        "read 'state_dict' of FILE, prefix 'student.' removed,"
        f" {len(wide) + 1} other names ignored ('teacher', 'loss')"
    )
    assert are_those(model, state())


def test_what_is_ignored_has_the_names_in_which_it_differs(tmp_path: Path) -> None:
    wide = dict(nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)).state_dict())
    both = {**prefixed("model.student.", state()), **prefixed("model.teacher.", wide)}
    line, _ = loaded(tmp_path, both)
    assert line == (
        "read FILE, prefix 'model.student.' removed,"
        f" {len(wide)} other names ignored ('model.teacher')"
    )


def test_names_of_wrappers_inside_of_names_are_removed(tmp_path: Path) -> None:
    def compiled(name: str) -> str:
        return name.replace("0.", "0._orig_mod.") if name.startswith("0.") else name

    line, model = loaded(tmp_path, {compiled(name): t for name, t in state().items()})
    assert line == "read FILE, '_orig_mod' removed"
    assert are_those(model, state())


def test_several_that_fit_are_refused_and_one_can_be_selected(tmp_path: Path) -> None:
    content = {"state_dict": state(1), "state_dict_ema": prefixed("module.", state(2))}
    assert refused(tmp_path, content) == (
        "must be one network's weights, got FILE, in which 'state_dict' and 'state_dict_ema.module'"
        " fit and differ; FILE:state_dict_ema.module selects one"
    )
    for part, seed in ((":state_dict", 1), (":state_dict_ema", 2), (":state_dict_ema.module", 2)):
        line, model = loaded(tmp_path, content, part)
        assert line is not None
        assert line.startswith(f"read {part.removesuffix('.module')[1:]!r} of FILE")
        assert are_those(model, state(seed))
    assert refused(tmp_path, content, ":ema") == (
        "must name a part of FILE that has weights of this network, state_dict,"
        " state_dict_ema.module, got FILE:ema"
    )


def test_several_that_are_equal_are_no_choice(tmp_path: Path) -> None:
    line, model = loaded(tmp_path, {"model": state(), "state_dict": prefixed("model.", state())})
    assert line == "read 'model' of FILE"
    assert are_those(model, state())


def test_another_network_is_refused_with_what_differs(tmp_path: Path) -> None:
    given = prefixed("module.", state())
    given["module.9.weight"] = given.pop("module.0.weight")
    given["module.3.weight"], given["module.3.bias"] = torch.zeros(7, 2), torch.zeros(7)
    assert refused(tmp_path, {"model": given}) == (
        "must be weights of this network, got FILE ('model.module'): 8 of its 9 names match; the"
        " file lacks '0.weight', which the model has; it has '9.weight', which the model lacks; it"
        " has '3.bias' of shape (7,), the model needs (3,) (1 more of another shape)"
    )


def test_a_network_of_other_names_altogether(tmp_path: Path) -> None:
    given = prefixed("block.conv.", state())
    assert refused(tmp_path, {k.replace(".", "_"): v for k, v in given.items()}).startswith(
        "must be weights of this network, got FILE: 0 of its 9 names match; the file lacks"
        " '0.weight', '0.bias' and 6 more, which the model has"
    )
    assert refused(tmp_path, {"epoch": 3}).startswith("must hold a state dict of tensors, got FILE")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda t: t.to(torch.int8), "int8"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "qint8"),
        (lambda t: t.to_sparse(), "sparse float32"),
        (lambda t: t.to("meta"), "a tensor without data"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_dense_tensor_of_floats_is_named(
    tmp_path: Path, change: Callable[[Tensor], Tensor], kind: str
) -> None:
    given = state()
    given["0.weight"] = change(given["0.weight"])
    assert f"has '0.weight' as {kind}, the model needs floats" in refused(tmp_path, given)


def test_plain_state_dicts_of_torch_are_read(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "wrapped.pt")
    for name in ("bare.pt", "wrapped.pt"):
        fresh = nn.Linear(3, 2)
        load_file_into(fresh, str(tmp_path / name))
        assert torch.equal(fresh.weight, model.weight)
