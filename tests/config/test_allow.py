"""Whose classes a config may name: kdsweep's, and those of modules that the user allows."""

import sys
from pathlib import Path

import pytest

from kdsweep.config import allow as state
from kdsweep.config.allow import (
    allow,
    allowed_modules,
    also_allowed,
    execution_whitelist,
    how_to_allow,
    how_to_allow_loading,
    own_module,
)
from kdsweep.errors import UserError


@pytest.fixture
def here(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which nothing is allowed."""
    monkeypatch.chdir(own_modules)
    allow()
    return own_modules


def pyproject(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)


def test_what_is_in_an_allowed_module_is_the_user_s(here: Path) -> None:
    assert own_module("mynet.TinyNet") is None
    allow(["mynet", "mylab.losses"])
    assert own_module("mynet.TinyNet") == "mynet"
    assert own_module("mynet.nets.TinyNet") == "mynet"
    assert own_module("mylab.losses.L1") == "mylab"
    assert own_module("mylab.L1") is own_module("mynetwork.TinyNet") is own_module(3) is None
    assert {"kdsweep.*", "mynet.*", "mylab.losses.*"} <= set(execution_whitelist())


def test_the_working_directory_is_importable_where_something_is_allowed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = [path for path in sys.path if path not in ("", str(here))]
    monkeypatch.setattr(sys, "path", list(elsewhere))
    allow()
    assert sys.path == elsewhere
    allow(["mynet"])
    allow(["mynet"])
    assert sys.path == [str(here), *elsewhere]


def test_each_command_allows_its_own_modules_only(here: Path) -> None:
    allow(["mynet"])
    allow(["mylab"])
    assert allowed_modules() == ("mylab",)
    with also_allowed(["mynet"]):
        assert allowed_modules() == ("mylab", "mynet")
    assert allowed_modules() == ("mylab",)


def test_the_nearest_pyproject_allows_modules(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyproject(here, '[tool.kdsweep]\nallow = ["mynet"]')
    below = here / "runs" / "today"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    allow(["mylab"])
    assert allowed_modules() == ("mylab", "mynet")
    pyproject(below.parent, "[project]\nname = 'another'")
    allow()
    assert allowed_modules() == ()


def test_without_a_command_it_is_read_when_it_is_needed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyproject(here, '[tool.kdsweep]\nallow = ["mynet"]')
    monkeypatch.setattr(state, "_allowed", None)
    assert allowed_modules() == ("mynet",)


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("os", "os, of Python's standard library"),
        ("subprocess.run", "subprocess.run, of Python's standard library"),
        ("torch.nn", "torch.nn, of a library that kdsweep is made of"),
        ("__main__", "__main__, which is another module in every process"),
        ("*", "*"),
        ("mynet.*", "mynet.*"),
        ("my net", "my net"),
        ("", "the text ''"),
        (3, "3"),
    ],
)
def test_a_name_that_no_module_of_a_user_has_is_refused(here: Path, name: str, got: str) -> None:
    with pytest.raises(UserError) as refused:
        allow([name])
    assert str(refused.value) == f"allow must be names of your modules, such as mynet, got {got}"


def test_a_pyproject_that_cannot_be_read_is_named(here: Path) -> None:
    path = here / "pyproject.toml"
    for text, why in [
        ("[tool", "must be readable TOML, got: "),
        ("[tool.kdsweep]\nallow = 'mynet'", "must be a list of names of modules, got mynet"),
        (
            "[tool.kdsweep]\nallow = ['sys']",
            "must be names of your modules, such as mynet, got sys",
        ),
    ]:
        path.write_text(text)
        with pytest.raises(UserError) as refused:
            allow()
        assert why in str(refused.value)
        assert str(path) in str(refused.value)


def test_a_refusal_has_the_word_that_allows_a_module(here: Path) -> None:
    allow(["mylab"])
    assert how_to_allow("mynet.TinyNet") == "; allow=[mylab,mynet] allows what is in mynet"
    assert "kdsweep --allow mynet" in how_to_allow_loading("mynet.TinyNet")
    for path in ("mylab.Net", "os.system", "torch.hub.load", "TinyNet", "kdsweep.x.Y", 3):
        assert how_to_allow(path) == how_to_allow_loading(path) == ""
