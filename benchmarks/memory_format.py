"""Time of a training step by precision and memory format, for every family of networks.

The table that `trainer.memory_format=auto` is read from (`kdsweep/training/arithmetic.py`) follows
from this one. A step is forward, distillation loss, backward and SGD on ready images and targets,
as a student of a cohort does it; teachers are timed as their forward pass alone. The variants of a
network take turns, so that a busy machine affects all of them equally; a figure is the median, over
the rounds, of a variant's CPU time relative to fp32 contiguous in the same round.

    python benchmarks/memory_format.py                      # every family, digits cnn included
    python benchmarks/memory_format.py vgg16 mobilenetv2    # some of conf/student
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/memory_format.py

The last one uses the kernels of a CPU without AVX512, on one that has it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import nn

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.cli import CONF
from kdsweep.training.trainer import torch_state

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
VARIANTS = tuple(product(("fp32", "bf16"), FORMATS))
# One of each file in kdsweep/models, at 32x32; the first one is that of the digits, at 8x8.
FAMILIES = (
    *("digits", "mlp", "cnn", "convnet4", "lightnn", "deepnn", "vgg8", "vgg16", "resnet20"),
    *("resnet8x4", "resnet18_cifar", "resnet50", "wrn16_2", "mobilenetv2", "shufflenetv1"),
    *("shufflenetv2", "vit_tiny", "imagenette_residual"),
)
DIGITS = "digits"


def main() -> None:
    """Print a line for each network."""
    options = _options()
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print("| network | work |" + "".join(f" {p} {f} |" for p, f in VARIANTS))
    print("|---|---|" + "---|" * len(VARIANTS))
    with torch_state(threads=1):
        for name in options.networks or FAMILIES:
            for work in ("step", "forward"):
                ratios = measured(name, work, options.rounds)
                cells = "".join(
                    f" {median:.2f} [{least:.2f}..{most:.2f}] |" for median, least, most in ratios
                )
                print(f"| {name} | {work} |{cells}", flush=True)


def measured(name: str, work: str, rounds: int) -> list[tuple[float, float, float]]:
    """Of each variant, CPU time relative to the first: median, least and most of the rounds."""
    runs = [prepared(name, work, *variant) for variant in VARIANTS]
    for run in runs:
        run()  # not timed: kernels are chosen
    seconds = [[_timed(run) for run in runs] for _ in range(rounds)]
    columns = zip(*([value / row[0] for value in row] for row in seconds), strict=True)
    return [(statistics.median(column), min(column), max(column)) for column in columns]


def prepared(name: str, work: str, precision: str, memory_format: str) -> Callable[[], None]:
    """A step, or a forward pass in eval mode, of a network."""
    shape, batch = ((1, 8, 8), 64) if name == DIGITS else ((3, 32, 32), 128)
    torch.manual_seed(0)
    model = build("cnn" if name == DIGITS else name, shape)
    model.to(memory_format=FORMATS[memory_format])
    images = torch.randn(batch, *shape).to(memory_format=FORMATS[memory_format])
    labels, target = torch.randint(0, 10, (batch,)), torch.randn(batch, 10).softmax(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")

    def step() -> None:
        with autocast():
            logits = model(images)
        scores = logits.float()
        kl = F.kl_div((scores / 4).log_softmax(1), target, reduction="batchmean")
        optimizer.zero_grad()
        (16 * kl + F.cross_entropy(scores, labels)).backward()
        optimizer.step()

    @torch.no_grad()
    def forward() -> None:
        with autocast():
            model(images)

    model.train(work == "step")
    return step if work == "step" else forward


def build(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """A network of conf/student."""
    with initialize_config_dir(str(CONF)):
        node = compose("train", [f"student={name}", "teacher=none", "loss=ce"]).student.model
    model: nn.Module = instantiate_node(node, "student.model", in_shape=shape, num_classes=10)
    return model


def _timed(run: Callable[[], None]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="options of the group student; all families")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
