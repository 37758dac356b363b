"""The source code of a network: it changes with the files of its modules."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from kdsweep.models.components import source_code
from kdsweep.models.components.source_code import source_digest

CODE = "from torch import nn\n\n\nclass Own(nn.ReLU):\n    pass\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of a user's, which can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own_network.py"
    path.write_text(CODE)
    yield path
    sys.modules.pop("own_network", None)
    source_code._file_digest.cache_clear()


def digest(later: bool = True) -> str:
    """Of a network with a module of that file, by default of a later process."""
    if later:
        source_code._file_digest.cache_clear()
    own = importlib.import_module("own_network").Own()
    return source_digest(nn.Sequential(nn.Linear(2, 2), own))


def test_an_edited_file_of_a_module_is_another_digest(file: Path) -> None:
    before = digest()
    assert digest() == before != source_digest(nn.Sequential(nn.Linear(2, 2)))
    file.write_text(CODE.replace("pass", "scale = 2"))
    assert digest(later=False) == before  # of the code that runs
    assert digest() != before


def test_another_version_of_a_package_is_another_digest(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest()
    monkeypatch.setattr(source_code.metadata, "version", lambda package: f"2 of {package}")
    assert digest() != before


def test_a_module_without_a_file_has_a_digest(file: Path) -> None:
    before = digest()
    sys.modules["own_network"].__file__ = None
    assert digest() != before
