"""The settings of glibc's allocator show in children, which have allocators of their own."""

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


HEAP = """
import ctypes
from kdsweep.training.memory import disable_malloc_trim, large_blocks_mapped

sbrk = ctypes.CDLL(None).sbrk
sbrk.restype = ctypes.c_void_p

def grown():
    before = sbrk(0)
    blocks = [bytearray(4 << 20) for _ in range(8)]
    return sbrk(0) - before >> 20

disable_malloc_trim()
with large_blocks_mapped():
    mapped = grown()
print(mapped, grown(), grown())
"""

RELEASED = """
import psutil
from kdsweep.training.memory import disable_malloc_trim, release_memory

def resident():
    return psutil.Process().memory_info().rss >> 20

disable_malloc_trim()
before = resident()
blocks = [bytearray(16 << 20) for _ in range(16)]
del blocks
kept = resident() - before
release_memory()
print(kept, resident() - before)
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")


@pytest.mark.slow
@on_glibc
def test_a_freed_block_is_used_again() -> None:
    answer = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    mapped, asked, _, kept = answer.stdout.split()
    assert asked == "True"
    assert int(kept) < int(mapped) / 5


@on_glibc
def test_large_blocks_are_outside_of_the_heap_for_a_while() -> None:
    answer = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    mapped, afterwards, again = map(int, answer.stdout.split())
    assert mapped <= 1
    assert afterwards >= 30
    assert again <= 1


@pytest.mark.ci
@on_glibc
def test_what_is_freed_goes_back_to_the_system() -> None:
    answer = subprocess.run([sys.executable, "-c", RELEASED], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    kept, afterwards = map(int, answer.stdout.split())
    assert kept >= 200
    assert afterwards <= 50


@pytest.mark.slow
def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda *_: pytest.fail("nothing to load"))
    assert memory.disable_malloc_trim.__wrapped__() is False
    with memory.large_blocks_mapped():
        pass
    memory.release_memory()
