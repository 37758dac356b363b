"""A network is built again from its manifest, and nothing else is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bundles import MLP, RGB, manifest
from torch import nn

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.common.conf import CONF
from kdsweep.deploy.architecture import (
    NETWORKS,
    build_module,
    described,
    expectation,
    refuse_code,
)
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.preprocessing import Preprocessing
from kdsweep.errors import UserError
from kdsweep.models.components.input_normalization import (
    IMAGENET,
    Normalization,
    adapt_input,
    set_expected,
)

SIMKD = {
    "_target_": "kdsweep.models.reused_classifier.ReusedClassifier",
    "channels": 8,
    "network": {
        "model": {"_target_": "kdsweep.models.cnn.CNN", "_partial_": True, "width": 4},
        "features": {"embedding": "pool"},
    },
}
RESNET = {
    "_target_": "kdsweep.models.torchvision_model.Torchvision",
    "name": "resnet18",
    "weights": None,
}


def rebuilt(node: dict[str, Any], preprocessing: Preprocessing = RGB) -> None:
    """A network and one that is built from its manifest have the same logits."""
    shape = preprocessing.in_shape
    network = instantiate_node(node, "model", in_shape=shape, num_classes=2).eval()
    adapt_input(network, preprocessing.mean, preprocessing.std)
    content = manifest(
        model=described(node, shape, 2), preprocessing=preprocessing, **expectation(network)
    )
    again = build_module(Manifest.from_json(json.loads(json.dumps(content.to_json()))))
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, *shape)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))


@pytest.mark.ci
@pytest.mark.parametrize(
    "node", [MLP, SIMKD, {**RESNET, "normalize": "imagenet"}], ids=lambda node: node["_target_"]
)
def test_a_network_is_built_again(node: dict[str, Any]) -> None:
    rebuilt(node, Preprocessing(3, (32, 32), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))


def test_a_network_of_pretrained_weights_keeps_its_normalization_without_a_download() -> None:
    node = {**RESNET, "weights": "DEFAULT", "pretrained": True}
    network = nn.Linear(1, 1)
    set_expected(network, None, (3, 32, 32), IMAGENET)
    network.transform_input = True  # type: ignore[assignment]
    facts = expectation(network)
    assert facts["transforms_input"] is True
    content = manifest(model=described(node, (3, 32, 32), 2), **facts)
    assert content.model["weights"] is None
    assert content.model["pretrained"] is False
    content = manifest(model={**RESNET, "weights": "DEFAULT"}, **facts)  # written by hand
    module = build_module(content)
    assert module.expected_normalization == Normalization(*IMAGENET)  # type: ignore[comparison-overlap]
    assert module.get_submodule("bridge")


def test_the_random_state_of_the_caller_stays() -> None:
    state = torch.random.get_rng_state()
    build_module(manifest())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "touch hacked"},
        {"_target_": "kdsweep.models.mlp.nn.modules.os.system"},
        {"_target_": "kdsweep.models.timm_model.import_package", "_args_": ["this", "x"]},
        {"_target_": "kdsweep.common.files.write_text_atomic", "path": "hacked", "text": ""},
        {"_target_": "torch.hub.load"},
        {"_target_": "torchvision.models.get_model_weights", "name": "resnet18"},
        {**MLP, "width": {"_target_": "builtins.eval", "_args_": ["1"]}},
        {**SIMKD, "network": {"model": {"_target_": "builtins.print"}, "features": {}}},
        {**MLP, "width": "${oc.env:HOME}"},
        {"width": 8},
        {"_target_": "kdsweep.models.mlp.NoSuchNetwork"},
        {**MLP, "depth": 3},
        {**MLP, "_args_": [[3, 6, 8], 2]},
    ],
    ids=lambda node: str(node.get("_target_")),
)
def test_anything_but_a_network_is_refused(
    node: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^model") as caught:
        build_module(manifest(model=node))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("hacked").touch, ())


@pytest.mark.parametrize(
    "loader",
    [
        "torchvision.models.resnet.ResNet18_Weights.IMAGENET1K_V1.get_state_dict",
        "kdsweep.models.torchvision_model.nn.Module",
        "kdsweep.models.mlp.MLP.load_state_dict",
    ],
)
def test_a_file_next_to_a_manifest_is_not_unpickled(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The method of torchvision's weights unpickles a file of any name in any folder."""
    monkeypatch.chdir(tmp_path)
    torch.save(Malicious(), "weights.bin")
    node = {"_target_": loader, "model_dir": ".", "file_name": "weights.bin"}
    with pytest.raises(UserError, match=r"^model\._target_ must be kdsweep\.models\.\*, got"):
        build_module(manifest(model={**MLP, "width": node}))
    assert not Path("hacked").exists()


@pytest.mark.parametrize("file", sorted((CONF / "student").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_student_can_be_named(file: Path) -> None:
    node = yaml.safe_load(file.read_text()).get("model")
    refuse_code(
        {key: value for key, value in (node or {}).items() if key != "network"}, "model", NETWORKS
    )
