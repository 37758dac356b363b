"""Times training steps on a GPU: a user's loop, lockstep, the floor, and two experiments.

    python benchmarks/gpu.py --out FOLDER --minutes 6
    python benchmarks/gpu.py --out FOLDER --device cpu --size small --minutes 2   # a rehearsal

Pairs of networks, each in fp32, in bf16 and channels_last, and in fp32 and channels_last, on made
images: speed does not depend on them. Columns of a pair are timed in the same rounds, warm and
synchronised. FOLDER gets `gpu.json` (all samples) and `gpu.md` (tables), written anew after every
pair and form, so that nothing is lost if it is stopped. Within the minutes each of them has an
equal share of the time that is left; what does not fit is left out and named.

The experiments train the same bare students by a CUDA graph of all their steps, and stacked along a
new axis by `torch.func.vmap`; their distance from the loop's weights is stated. docs/gpu.md has
more.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from speed.cohorts import Cohorts, load_images
from speed.gpu_pages import Measured, describe, write
from speed.gpu_rows import FORMS, SIZES, Pair, Row, teacher_words
from speed.rounds import timed
from speed.stacked import EXPERIMENTS

from kdsweep.builders.device import resolve_device
from kdsweep.common.text import error_reason
from kdsweep.training.memory import release_memory

MOST_ROUNDS = 7


class Clock:
    """The time that is left, in seconds."""

    def __init__(self, minutes: float) -> None:
        self.end = time.perf_counter() + 60 * minutes

    @property
    def left(self) -> float:
        return self.end - time.perf_counter()


def main() -> int:
    """Measure what the time suffices for; 1 if a pair could not be measured at all."""
    options = _options()
    device, clock, rows = resolve_device(options.device), Clock(options.minutes), []
    torch.set_num_threads(options.threads)
    machine = describe(device, options.threads)
    skipped = []
    todo = list(pairs_and_forms(SIZES[options.size]))
    for number, (pair, form) in enumerate(todo):
        share = clock.left / (len(todo) - number)
        if share < options.least:
            skipped.append(f"{pair.work.name}, {form}")
            continue
        began = time.perf_counter()
        rows.append(measure(pair, form, device, options, Clock(share / 60)))
        write(options.out, machine, rows)
        print(f"{pair.work.name}, {form}: {time.perf_counter() - began:.0f} s", flush=True)
    note = f"Left out, for lack of time: {'; '.join(skipped)}." if skipped else ""
    write(options.out, machine, rows, note)
    print(f"{options.out}/gpu.md: {len(rows)} of {len(todo)}", note, flush=True)
    return int(any("all" in row.failed for row in rows))


def pairs_and_forms(pairs: list[Pair]) -> Iterator[tuple[Pair, str]]:
    """The forms that are compared first come first, of every pair."""
    *first, last = FORMS
    yield from ((pair, form) for pair in pairs for form in first)
    yield from ((pair, last) for pair in pairs)


def measure(
    pair: Pair, form: str, device: str, options: argparse.Namespace, clock: Clock
) -> Measured:
    """One pair in one form. A column that cannot be built or run is left out, with the reason."""
    batches = options.batches or pair.batches
    measured = Measured(pair.work.name, form, pair.batch, batches)
    try:
        row = _row(pair, form, device, batches, options.threads)
    except Exception as error:  # one pair is not to end the others
        measured.failed["all"] = error_reason(error)
        return measured
    columns = _warm_columns(row, measured, device, clock)
    for number in range(MOST_ROUNDS):
        names = list(columns) if number % 2 else list(reversed(columns))
        seconds = {}
        for name in names:
            if clock.left < 0 and number:  # at least one round
                return measured
            row.prepare(name)
            seconds[name] = timed(columns[name], device)
        for name, value in seconds.items():
            measured.samples.setdefault(name, []).append(value)
    return measured


def _row(pair: Pair, form: str, device: str, batches: int, threads: int) -> Row:
    release_memory()
    words = [*pair.words(batches), *FORMS[form], *teacher_words(form), f"trainer.device={device}"]
    return Row(Cohorts(words, load_images(words), threads=threads, device=device), pair)


def _warm_columns(
    row: Row, measured: Measured, device: str, clock: Clock
) -> dict[str, Callable[[], object]]:
    """The columns that work, each run once; and how far the experiments are from the loop."""
    columns: dict[str, Callable[[], object]] = {}
    for name, make in row.columns().items():
        if clock.left < 0 and columns:
            measured.failed[name] = "not measured for lack of time"
            continue
        try:
            before = _allocated(device)
            column = make()
            timed(column, device)
            if before is not None:
                peak = torch.cuda.max_memory_allocated(device)
                measured.peaks[name] = (peak - before) / 2**20
            if name in EXPERIMENTS:
                measured.differences[name] = row.differences(name)
        except Exception as error:
            measured.failed[name] = error_reason(error)
            release_memory()
            continue
        columns[name] = column
        measured.students[name], measured.samples[name] = row.students_of(name), []
    return columns


def _allocated(device: str) -> int | None:
    """Bytes of an accelerator in use, from which on its peak is counted; None on a CPU."""
    if device == "cpu":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    allocated: int = torch.cuda.memory_allocated(device)
    return allocated


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=6.0, help="of all measurements")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--batches", type=int, help="in a round; default: by pair and size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--least", type=float, default=5.0, help="seconds a pair needs at least")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
