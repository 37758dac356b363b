"""The source code of the user's own parts, by which an edited one is another run."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
from own_modules import write_module

from kdsweep.builders.own_source import (
    SOURCE,
    forget_edited_modules,
    module_digest,
    own_sources,
    with_sources,
)
from kdsweep.config.allow import allow


@pytest.fixture
def here(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(own_modules)
    return own_modules


def digest_of(module: str) -> str:
    """As another process computes it."""
    from kdsweep.builders import own_source

    own_source._digests.clear()
    return module_digest(module)


def test_parts_of_the_user_s_get_their_digest_and_others_stay_as_they_are(here: Path) -> None:
    write_module(here, "mynet", "width = 1")
    allow(["mynet"])
    node = {
        "kl": {"_target_": "kdsweep.losses.kl.KL", "T": 4.0},
        "own": [{"_target_": "mynet.L1", "net": {"_target_": "mynet.Net"}}],
    }
    digest = module_digest("mynet")
    found = with_sources(node)
    assert found["kl"] == node["kl"]
    (own,) = found["own"]
    assert own == {
        "_target_": "mynet.L1",
        SOURCE: digest,
        "net": {"_target_": "mynet.Net", SOURCE: digest},
    }
    assert own_sources(node) == {"mynet": digest}
    allow()
    assert with_sources(node) == node
    assert own_sources(node) == {}


def test_a_file_counts_with_those_next_to_it_that_it_imports(here: Path) -> None:
    write_module(here, "mynet", "import torch\nfrom helper import scale")
    helper = write_module(here, "helper", "import further\nscale = 1")
    further = write_module(here, "further", "x = 1")
    write_module(here, "another", "x = 1")
    allow(["mynet"])
    first = digest_of("mynet")
    write_module(here, "another", "x = 2")
    assert digest_of("mynet") == first
    helper.write_text("import further\nscale = 2")
    second = digest_of("mynet")
    further.write_text("x = 2")
    assert len({first, second, digest_of("mynet")}) == 3


@pytest.mark.parametrize("is_regular", [True, False])
def test_all_modules_of_a_package_count(here: Path, is_regular: bool) -> None:
    package = here / "mylab"
    (package / "deep").mkdir(parents=True)
    if is_regular:
        (package / "__init__.py").touch()
    for name in ("losses.py", "deep/net.py", "notes.txt"):
        (package / name).write_text("")
    allow(["mylab.losses"])
    digests = [digest_of("mylab")]
    for name in ("losses.py", "deep/net.py"):
        (package / name).write_text("x = 1")
        digests.append(digest_of("mylab"))
    (package / "deep/net.py").rename(package / "net.py")
    digests.append(digest_of("mylab"))
    assert len(set(digests)) == 4
    (package / "notes.txt").write_text("x = 1")
    assert digest_of("mylab") == digests[-1]


def test_it_stays_that_of_the_code_that_was_imported(here: Path) -> None:
    path = write_module(here, "mynet", "value = 1")
    allow(["mynet"])
    digest = module_digest("mynet")
    module = import_module("mynet")
    path.write_text("value = 22")
    assert module_digest("mynet") == digest
    assert import_module("mynet") is module


def test_an_edited_module_is_imported_anew_by_the_next_command(here: Path) -> None:
    write_module(here, "kept", "value = 1")
    path = write_module(here, "mynet", "from helper import value")
    helper = write_module(here, "helper", "value = 1")
    allow(["mynet", "kept"])
    digests = module_digest("mynet"), module_digest("kept")
    kept = import_module("kept")
    assert import_module("mynet").value == 1
    forget_edited_modules()
    assert "mynet" in sys.modules
    helper.write_text("value = 22")
    forget_edited_modules()
    assert import_module("mynet").value == 22
    assert import_module("kept") is kept
    assert module_digest("mynet") != digests[0]
    assert module_digest("kept") == digests[1]
    path.unlink()
    forget_edited_modules()
    assert "mynet" not in sys.modules
