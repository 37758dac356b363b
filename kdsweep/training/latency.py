"""The latency of a student's forward pass for one image."""

import time
from statistics import median

import torch
from torch import Tensor

from kdsweep.training.evaluation import eval_mode
from kdsweep.training.student import Student

WARM_UP = 3  # passes that are not counted: caches fill, kernels are chosen
REPEATS = 20
SECONDS = 0.5  # after which the passes of a slow network end


def latency_ms(student: Student, image: Tensor) -> float:
    """Milliseconds of one forward pass in eval mode, the median of up to 20.

    Measured with the threads and the precision of training, under whatever load the machine has:
    it distinguishes networks that differ clearly, and no more. The image is normalised, (1,
    channels, H, W), on the student's device.
    """
    with eval_mode([student.model]), torch.no_grad(), student.autocast():
        for _ in range(WARM_UP):
            _forward(student, image)
        times: list[float] = []
        while len(times) < REPEATS and sum(times) < SECONDS:
            started = time.perf_counter()
            _forward(student, image)
            times.append(time.perf_counter() - started)
    return 1000 * median(times)


def _forward(student: Student, image: Tensor) -> None:
    student.model(image)
    if image.device.type != "cpu":
        torch.accelerator.synchronize(image.device)
