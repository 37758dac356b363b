"""That freed memory is kept shows in the page faults of a child, whose allocator is its own."""

import platform
import subprocess
import sys

import pytest

from kdsweep.training import memory

CHILD = """
import resource
from kdsweep.training.memory import disable_malloc_trim

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytearray(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), disable_malloc_trim(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_freed_block_is_used_again() -> None:
    answer = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    mapped, asked, _, kept = answer.stdout.split()
    assert asked == "True"
    assert int(kept) < int(mapped) / 5


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda *_: pytest.fail("nothing to load"))
    assert memory.disable_malloc_trim.__wrapped__() is False
