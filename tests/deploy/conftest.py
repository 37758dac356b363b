"""A bundle in a folder of its own."""

from pathlib import Path

import pytest
from bundles import written


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A classifier of cats and dogs with random weights."""
    return written(tmp_path / "bundle")
