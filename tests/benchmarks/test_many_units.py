"""benchmarks/many_units.py: the controller handles the last units of many as it does the first."""

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
)
@pytest.mark.parametrize("queued", [False, True])
def test_time_and_memory_of_a_unit_do_not_grow(load: Any, tmp_path: Path, queued: bool) -> None:
    script = load("many_units")
    first, *_, last = script.measure(600, 3, tmp_path, queued=queued).parts
    assert first.units == last.units == 200
    assert last.seconds < 2 * first.seconds  # a busy machine is not what is tested
    assert last.processor < 1.5 * first.processor
    assert last.memory < 1.2 * first.memory
