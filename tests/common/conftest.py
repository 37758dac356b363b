"""What the tests of the disk cache share."""

import logging
from pathlib import Path

import pytest

from kdsweep.common import notices
from kdsweep.common.disk_cache import DiskCache


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache", gib=1.0)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    notices.warn_once.cache_clear()
    notices.note_once.cache_clear()
    caplog.set_level(logging.INFO, "kdsweep")
    return caplog
