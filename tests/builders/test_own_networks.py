"""Networks of the user's: what they are given, what they may return, what is refused."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from own_modules import write_module
from torch import nn

from kdsweep.builders.data import build_dataset
from kdsweep.builders.instantiate import instantiate_node
from kdsweep.builders.models import build_model, build_network, extract_features
from kdsweep.config.allow import allow
from kdsweep.config.schema import DatasetConfig
from kdsweep.data.pipeline.split import Dataset
from kdsweep.errors import UserError
from kdsweep.models.quantization_aware import RoundingLinear, with_rounding

MODULE = """
from collections import OrderedDict
import torch
from torch import nn

MEAN = torch.tensor([0.5])  # on the device that is the default at import


class ModelOutput(OrderedDict):
    # As that of transformers: a mapping with attributes.
    def __getattr__(self, name):
        return self[name]


class Net(nn.Module):
    def __init__(self, in_channels, num_classes, returns="tensor"):
        super().__init__()
        self.given = (in_channels, num_classes)
        self.mean = float(MEAN)
        self.body = nn.Conv2d(in_channels, 4, 1)
        self.head = nn.Linear(4, num_classes)
        self.returns = returns

    def forward(self, images):
        logits = self.head(self.body(images - self.mean).mean((2, 3)))
        if self.returns == "object":
            return type("Found", (), {"logits": logits})()
        return {
            "tensor": logits,
            "dict": {"logits": logits, "more": images},
            "output": ModelOutput(loss=None, logits=logits),
            "list": [logits],
            "without": {"scores": logits},
            "wide": torch.cat([logits, logits], 1),
        }[self.returns]


def of_shape(in_shape, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], width))


def empty():
    return nn.Flatten()


def number():
    return 3


class Failing(Net):
    def forward(self, images):
        return self.missing(images)
"""


@pytest.fixture
def here(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(own_modules)
    write_module(own_modules, "mynet", MODULE)
    allow(["mynet"])
    return own_modules


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    source = {"_target_": "kdsweep.data.fake.Fake", "num_train": 40, "num_test": 10}
    source |= {"num_classes": 4, "shape": [1, 8, 8]}
    return build_dataset(DatasetConfig(name="fake", source=source), "cpu")


def node(name: str = "Net", **options: Any) -> dict[str, Any]:
    return {"_target_": f"mynet.{name}", **options}


def test_a_network_is_given_what_its_signature_has(here: Path) -> None:
    assert build_model(node(), "student.model", (3, 8, 8), 5).given == (3, 5)
    model = build_model(node("of_shape", width=7), "student.model", (3, 8, 8), 5)
    assert model[1].weight.shape == (7, 192)
    given = build_model(node(num_classes=2), "student.model", (3, 8, 8), 5).given
    assert given == (3, 2)


@pytest.mark.parametrize("returns", ["tensor", "dict", "output", "object"])
def test_logits_may_be_in_a_mapping(here: Path, dataset: Dataset, returns: str) -> None:
    model = build_network(dataset, node(returns=returns), "student")
    network = extract_features(model, ["body"], "student", dataset)
    output = network(torch.zeros(2, 1, 8, 8))
    assert output.logits.shape == (2, 4)
    assert output.features["body"].shape == (2, 4, 8, 8)
    assert list(model.state_dict()) == ["body.weight", "body.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("name", "returns", "message"),
    [
        (
            "Net",
            "list",
            "student.model does not take images of 1 x 8 x 8: Net must return logits, as a tensor"
            " or in a mapping with logits, got list",
        ),
        ("Net", "without", "got dict with scores"),
        ("Net", "wide", "student.model must give 4 logits, one a class of the data set, got an"),
        (
            "Failing",
            "tensor",
            "AttributeError: 'Failing' object has no attribute 'missing' (mynet.py,",
        ),
    ],
)
def test_what_gives_no_logits_is_refused(
    here: Path, dataset: Dataset, name: str, returns: str, message: str
) -> None:
    model = build_network(dataset, node(name, returns=returns), "student")
    with pytest.raises(UserError) as refused:
        extract_features(model, [], "student", dataset)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("name", "got"),
    [("empty", "one without parameters"), ("number", "3")],
)
def test_what_is_no_network_is_refused(here: Path, name: str, got: str) -> None:
    with pytest.raises(UserError) as refused:
        build_model(node(name), "student.model", (1, 8, 8), 4)
    assert str(refused.value) == (
        "student.model._target_ must be a network with parameters, an nn.Module, got"
        f" mynet.{name}, which is {got}"
    )


def test_it_can_be_part_of_a_network_of_kdsweep(here: Path) -> None:
    """As `quantize --qat` and simkd have it."""
    made = with_rounding(node(returns="dict"))
    model = instantiate_node(made, "student.model", in_shape=(1, 8, 8), num_classes=4)
    assert isinstance(model.head, RoundingLinear)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 4)


def test_its_module_is_not_imported_onto_a_device_without_memory(here: Path) -> None:
    from kdsweep.builders.arithmetic import network_kind

    assert network_kind(node()).convolutions
    assert (
        build_model(node(), "student.model", (1, 8, 8), 4)(torch.zeros(2, 1, 8, 8)).isfinite().all()
    )


def test_an_ordered_dict_is_a_mapping() -> None:
    from kdsweep.models.components.logits_output import return_logits, returns_logits

    class Wrapped(nn.Module):
        def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
            return OrderedDict(logits=images)

    model = Wrapped()
    assert not returns_logits(model)
    return_logits(model)
    assert returns_logits(model)
    assert torch.equal(model(torch.ones(2, 3)), torch.ones(2, 3))
