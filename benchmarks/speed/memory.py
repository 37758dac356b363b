"""The peak memory of a process that trains so many of the nine runs.

    python benchmarks/speed/memory.py WORK RUNS WORDS...    # prints the bytes as JSON

Each is measured in a process of its own, because a process never forgets its peak.
"""

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from speed.cohorts import WORKS, Cohorts, load_images
from speed.commands import run_python

Memory = dict[str, int]  # bytes


def measure_memory(work: str, runs: int, words: Sequence[str], threads: int) -> Memory:
    """`peak`, of a process that trains so many runs for an epoch, and `state`, of each student."""
    command = [__file__, work, str(runs), str(threads), *words]
    found: Memory = json.loads(run_python(command, Path.cwd(), threads).splitlines()[-1])
    return found


def train_and_measure(work: str, runs: int, threads: int, words: Sequence[str]) -> Memory:
    """The same in this process."""
    whole = [*WORKS[work].words, *words]
    cohorts = Cohorts(whole, load_images(whole), threads=threads, device="cpu")
    students = cohorts.students(runs)
    cohorts.train_epoch(students)
    state = state_bytes(students[0].model, students[0].optimizer)
    return {"peak": peak_bytes(), "state": state}


def peak_bytes() -> int:
    """The most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux `ru_maxrss` begins with the peak of the process that started it
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    kilo = 1 if sys.platform == "darwin" else 1024
    return kilo * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def state_bytes(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Of parameters, gradients, buffers and the optimizer's tensors."""
    parameters = list(model.parameters())
    tensors = [*parameters, *(p.grad for p in parameters if p.grad is not None), *model.buffers()]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    name, count, threads, *given = sys.argv[1:]
    print(json.dumps(train_and_measure(name, int(count), int(threads), given)))
