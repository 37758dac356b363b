"""The memory that a model takes, measured in a process of its own.

`python -m kdsweep.deploy.bench.peak_memory torch|onnx PATH BATCH CHANNELS HEIGHT WIDTH` prints the
bytes that loading a model and running one batch add to a process that has imported all it needs.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdsweep.common.notices import warn_once

STATUS = Path("/proc/self/status")  # Linux


def peak_bytes(kind: str, path: Path, batch: int, shape: tuple[int, int, int]) -> int | None:
    """What the model in a file (`onnx`) or a bundle's folder (`torch`) takes.

    With one thread. None where the system does not report the peak of a process, and, with a
    warning, if the process fails: there may be too little memory.
    """
    if not STATUS.is_file():
        return None
    words = [kind, str(path), str(batch), *map(str, shape)]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        warn_once(f"the memory of {path} cannot be measured: {reason}", str(path))
        return None
    return int(done.stdout)


def _peak() -> int:
    """The peak so far, in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def _current() -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


def _onnx(path: str) -> Callable[[], Callable[[Any], object]]:
    import onnxruntime

    def load() -> Callable[[Any], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
        return lambda images: session.run(None, {"images": images})

    return load


def _torch(path: str) -> Callable[[], Callable[[Any], object]]:
    import torch

    from kdsweep.deploy.bundle import read_bundle

    torch.set_num_threads(1)
    read_bundle(Path(path)).module  # noqa: B018 (all that it imports)

    def load() -> Callable[[Any], object]:
        module = read_bundle(Path(path)).module

        def run(images: Any) -> object:
            with torch.inference_mode():
                return module(torch.from_numpy(images))

        return run

    return load


def main(words: list[str]) -> None:
    """Print the bytes."""
    import numpy as np

    kind, path, batch, *shape = words
    load = {"onnx": _onnx, "torch": _torch}[kind](path)
    images = np.zeros((int(batch), *map(int, shape)), dtype=np.float32)
    before = _current()
    load()(images)
    print(max(_peak() - before, 0))


if __name__ == "__main__":
    main(sys.argv[1:])
