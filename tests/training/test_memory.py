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


# Nine students with 32 MiB of activations each, aligned as torch's: a first step, of which
# something remains between the activations, and a second. Prints the growth of the heap in MiB.
STUDENTS = """
import ctypes
from kdsweep.training.memory import disable_malloc_trim, large_blocks_mapped

libc = ctypes.CDLL(None)
libc.aligned_alloc.restype = libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def step(is_first):
    activations = []
    for _ in range(8):
        activations.append(libc.aligned_alloc(64, 4 << 20))
        if is_first:
            libc.malloc(60_000)
    for activation in activations:
        libc.free(activation)

disable_malloc_trim()
before = libc.sbrk(0)
for _ in range(9):
    with large_blocks_mapped():
        step(True)
for _ in range(9):
    step(False)
print((libc.sbrk(0) - before) >> 20)
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")


@on_glibc
def test_a_freed_block_is_used_again() -> None:
    answer = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    mapped, asked, _, kept = answer.stdout.split()
    assert asked == "True"
    assert int(kept) < int(mapped) / 5


@on_glibc
def test_the_heap_has_the_activations_of_one_student() -> None:
    command = [sys.executable, "-c", STUDENTS]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert 32 <= int(answer.stdout) < 40


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda *_: pytest.fail("nothing to load"))
    assert memory.disable_malloc_trim.__wrapped__() is False
    with memory.large_blocks_mapped():
        pass
