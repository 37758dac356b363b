"""The source code of a network: it changes with the files of its modules."""

import importlib
import sys
from pathlib import Path

import pytest
from torch import nn

from kdsweep.models.components.source_code import source_digest

CODE = "from torch import nn\n\n\nclass Own(nn.ReLU):\n    pass\n"


def test_an_edited_file_of_a_module_is_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own_network.py"
    file.write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.Sequential(nn.Linear(2, 2), importlib.import_module("own_network").Own())
    before = source_digest(model)
    assert source_digest(nn.Sequential(nn.Linear(3, 3))) != before
    file.write_text(CODE.replace("pass", "scale = 2"))
    assert source_digest(model) != before
    file.write_text(CODE)
    assert source_digest(model) == before
    monkeypatch.delitem(sys.modules, "own_network")
    assert source_digest(model) != before  # it has no file; nothing is raised
