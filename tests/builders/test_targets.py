"""What a `_target_` names, and why it names nothing."""

from pathlib import Path

import pytest
from own_modules import write_module

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.builders.targets import find_target, unknown_target
from kdsweep.config.allow import allow
from kdsweep.errors import UserError

MODULE = """
import os
import random
from kdsweep.models.mlp import MLP
from decimal import Decimal


class TinyNet:
    def __init__(self, width=8):
        if width == 0:
            raise ZeroDivisionError("no width")
        self.width = width


def made(width):
    return TinyNet(width)


def library():
    return Decimal
"""


@pytest.fixture
def here(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module, which is not allowed."""
    monkeypatch.chdir(own_modules)
    write_module(own_modules, "mynet", MODULE)
    allow()
    return own_modules


def refusal(path: str, **options: object) -> str:
    with pytest.raises(UserError) as refused:
        instantiate_node({"_target_": path, **options}, "student.model")
    return str(refused.value)


def test_what_is_not_allowed_is_not_imported(here: Path) -> None:
    write_module(here, "mynet", "raise SystemExit('imported')")
    assert find_target("mynet.TinyNet") is None
    assert refusal("mynet.TinyNet") == (
        "student.model._target_ must be the path of a class or function, kdsweep.* or torch.optim.*"
        " or torchvision.models.*, got mynet.TinyNet; allow=[mynet] allows what is in mynet"
    )


def test_what_is_allowed_is_made(here: Path) -> None:
    allow(["mynet"])
    assert instantiate_node({"_target_": "mynet.TinyNet", "width": 2}, "x").width == 2
    assert instantiate_node({"_target_": "mynet.made", "width": 3}, "x").width == 3
    assert instantiate_node(
        {"_target_": "mynet.MLP", "width": 3}, "x", in_shape=(1, 8, 8), num_classes=2
    )


def test_what_a_module_has_imported_from_one_that_is_not_allowed_is_refused(here: Path) -> None:
    allow(["mynet"])
    for path, other in [("os.system", "posix.system"), ("random.seed", "random.Random.seed")]:
        assert find_target(f"mynet.{path}") is None
        assert refusal(f"mynet.{path}", command="touch hacked").endswith(
            f"got mynet.{path}, which is {other}"
        )
    assert refusal("mynet.Decimal").endswith("got mynet.Decimal, which is decimal.Decimal")
    assert not (here / "hacked").exists()


def test_a_nested_target_is_refused_as_well(here: Path) -> None:
    allow(["mynet"])
    nested = {"_target_": "os.system", "command": "touch hacked"}
    assert "student.model" in refusal("mynet.TinyNet", width=nested)
    assert not (here / "hacked").exists()


def test_a_class_of_a_library_may_be_the_result(here: Path) -> None:
    """As a network of timm or transformers is, which Hydra refuses as a callable object."""
    from decimal import Decimal

    allow(["mynet"])
    assert instantiate_node({"_target_": "mynet.library"}, "student.model") is Decimal


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no module lost is in {here} or installed"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' (lost.py, line 1)"),
        ("\n1 / 0", "ZeroDivisionError: division by zero (lost.py, line 2)"),
        ("def :", "SyntaxError: invalid syntax (lost.py, line 1)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(here: Path, text: str | None, why: str) -> None:
    if text is not None:
        write_module(here, "lost", text)
    allow(["lost"])
    assert refusal("lost.Net") == (
        "student.model._target_ must be in a module that can be imported, got lost.Net:"
        f" {why.format(here=here)}"
    )


def test_a_mistyped_class_gets_the_nearest(here: Path) -> None:
    allow(["mynet"])
    assert unknown_target("student.model", "mynet.TinyNett").endswith("did you mean mynet.TinyNet?")
    assert find_target("mynet.nowhere.Net") is None


def test_what_a_constructor_of_the_user_s_raises_has_its_place(here: Path) -> None:
    allow(["mynet"])
    line = 1 + MODULE[: MODULE.index("raise Zero")].count("\n")
    assert refusal("mynet.TinyNet", width=0) == (
        f"student.model: ZeroDivisionError: no width (mynet.py, line {line})"
    )
    assert refusal("mynet.TinyNet", depth=0).startswith("student.model.depth must be one of the")
