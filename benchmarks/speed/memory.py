"""The peak memory of processes that train so many of the nine runs.

    python benchmarks/speed/memory.py WORK RUNS WORDS...    # prints the bytes as JSON

Each is measured in a process of its own, because a process never forgets its peak.
"""

import json
import resource
import sys
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from speed.cohorts import WORKS, Cohorts, load_images
from speed.commands import run_python

EPOCHS = 3  # the heap grows after the first step, too
PROCESSES = 3  # of which the median counts: the order of the heap depends on addresses
Memory = dict[str, int]  # bytes


def measure_memory(work: str, runs: int, words: Sequence[str], threads: int) -> Memory:
    """`peak`, of a process that trains so many runs for a few epochs, and a student's `state`."""
    command = [__file__, work, str(runs), str(threads), *words]
    lines = [run_python(command, Path.cwd(), threads).splitlines()[-1] for _ in range(PROCESSES)]
    processes: list[Memory] = [json.loads(line) for line in lines]
    return sorted(processes, key=itemgetter("peak"))[PROCESSES // 2]


def train_and_measure(work: str, runs: int, threads: int, words: Sequence[str]) -> Memory:
    """The same in this process."""
    whole = [*WORKS[work].words, *words]
    cohorts = Cohorts(whole, load_images(whole), threads=threads, device="cpu")
    students = cohorts.students(runs)
    for _ in range(EPOCHS):
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
    """Of parameters, gradients (if it keeps them), buffers and the optimizer's tensors."""
    parameters = list(model.parameters())
    tensors = [*parameters, *(p.grad for p in parameters if p.grad is not None), *model.buffers()]
    for state in optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    name, count, threads, *given = sys.argv[1:]
    print(json.dumps(train_and_measure(name, int(count), int(threads), given)))
