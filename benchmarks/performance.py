"""What a sweep costs: the tables of docs/performance.md and the sentence of the README.

    make bench DATA=FOLDER                          # measures all, writes the page and the README
    python benchmarks/performance.py --data FOLDER  # measures all, into benchmarks/performance.json
    python benchmarks/performance.py --write        # writes the page from that file
    python benchmarks/performance.py --only vgg,starts --rounds 1 --batches 1  # prints a part

FOLDER holds train/<class>/ and test/<class>/ with images of 32 x 32, such as those of CIFAR-10;
without it they are made. The machine must be idle: other work moves the floors, too. The exit code
is 3 if a bound of speed/comparisons.py does not hold.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from speed import tables
from speed.cohorts import GRID, WORKS, image_words, load_images
from speed.comparisons import compare
from speed.machine import describe_machine
from speed.memory import measure_memory
from speed.pages import write_blocks
from speed.start_times import time_starts
from speed.step_times import Extent, settings, time_steps
from speed.sweep_costs import measure_sweeps

TOP = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".json")
PARTS = (*WORKS, "starts", "sweeps", "memory")
WITH_MEMORY = ("vgg", "resnet")
MISSED = 3  # exit code


class Progress:
    """Lines about the rounds of one part, with the time that is left."""

    def __init__(self, name: str, rounds: int) -> None:
        self.name, self.rounds = name, rounds
        print(f"{name}: {rounds} rounds", flush=True)

    def __call__(self, number: int, seconds: float) -> None:
        """``number``: of the round that has ended, 0 for the warm-up."""
        left = (self.rounds - number) * seconds
        what = f"round {number} of {self.rounds}" if number else "warm-up"
        print(f"{self.name}: {what} took {seconds:.0f} s, {left:.0f} s left", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, or write what was measured; returns the exit code."""
    options = parse_options(words)
    if options.write:
        return write(options.out or RESULTS, TOP)
    print(estimate(RESULTS, options), flush=True)
    results = measure(options)
    out = options.out or (RESULTS if set(options.only) == set(PARTS) else None)
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n")
    return show(results)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The results of the parts that are wanted, as in the JSON file."""
    names = ("rounds", "command_rounds", "alone", "threads")
    extent: dict[str, Any] = {name: getattr(options, name) for name in names}
    extent |= {"batches": batches_of(options), "real": options.data is not None}
    machine = describe_machine("cpu", options.threads)
    results: dict[str, Any] = {"machine": machine, "extent": extent, "seconds": {}, "steps": {}}
    measures: dict[str, Callable[[], None]] = {
        **{key: partial(_steps, results, options, key) for key in WORKS},
        "starts": partial(_starts, results, options),
        "sweeps": partial(_sweeps, results, options),
        "memory": partial(_memory, results, options),
    }
    for part in options.only:
        began = time.perf_counter()
        measures[part]()
        results["seconds"][part] = round(time.perf_counter() - began)
    return results


def _steps(results: dict[str, Any], options: argparse.Namespace, key: str) -> None:
    work = WORKS[key]
    images = words_of_images(key, options)
    extent = Extent(options.rounds, options.alone, options.threads)
    dataset = load_images((*images, *work.words))
    watch = Progress(work.name, options.rounds)
    results["steps"][key] = time_steps(work, images, settings(), dataset, extent, watch)


def _starts(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress("until the first step", options.command_rounds)
    results["starts"] = time_starts(options.data, options.command_rounds, watch)


def _sweeps(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress("60 one-epoch runs", options.command_rounds)
    results["sweeps"] = asdict(measure_sweeps(options.command_rounds, watch))


def _memory(results: dict[str, Any], options: argparse.Namespace) -> None:
    print("memory of processes with 1 and 9 students", flush=True)
    results["memory"] = {
        key: {
            str(count): measure_memory(key, count, words_of_images(key, options), options.threads)
            for count in (1, len(GRID))
        }
        for key in WITH_MEMORY
    }


def batches_of(options: argparse.Namespace) -> dict[str, int]:
    """Batches in an epoch of each work on given or made images."""
    works = {key: work.batches for key, work in WORKS.items()}
    return {key: options.batches or count for key, count in works.items() if count is not None}


def words_of_images(key: str, options: argparse.Namespace) -> tuple[str, ...]:
    """The overrides for the images of a work, unless it has its own."""
    batches = batches_of(options).get(key)
    return () if batches is None else image_words(options.data, batches)


def estimate(path: Path, options: argparse.Namespace) -> str:
    """How long it may take, from the last results on record."""
    if not path.is_file():
        return "no results on record to estimate the time from"
    known = json.loads(path.read_text())
    rounds = dict.fromkeys(WORKS, "rounds")
    rounds |= dict.fromkeys(("starts", "sweeps"), "command_rounds")
    seconds = 0.0
    for part in options.only:
        factor = 1.0
        if (name := rounds.get(part)) is not None:  # and the warm-up
            factor = (getattr(options, name) + 1) / (known["extent"][name] + 1)
        if part in known["extent"]["batches"]:
            factor *= batches_of(options)[part] / known["extent"]["batches"][part]
        seconds += factor * known["seconds"][part]
    return f"about {seconds / 60:.0f} minutes, if this machine is a {known['machine']['cpu']}, too"


def show(results: dict[str, Any]) -> int:
    """Print the tables of what was measured, and the bounds; 3 if one does not hold."""
    for text in tables.blocks(results).values():
        print(f"\n{text}")
    comparisons = list(compare(results))
    print(*comparisons, sep="\n")
    return 0 if all(comparison.holds for comparison in comparisons) else MISSED


def write(path: Path, top: Path) -> int:
    """Write the page and the README of a checkout from a JSON file of all parts."""
    results = json.loads(path.read_text())
    if missing := [part for part in PARTS if part not in results["seconds"]]:
        sys.exit(f"{path.name} must have all parts, it lacks {', '.join(missing)}")
    write_blocks(top / "docs" / "performance.md", tables.blocks(results))
    write_blocks(top / "README.md", {"sentence": tables.sentence(results)})
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of images; without it they are made")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--command-rounds", type=int, default=3, help="of whole commands")
    parser.add_argument("--batches", type=int, help="of 128 images, in an epoch; default: 2 or 1")
    parser.add_argument("--alone", type=int, default=3, help="of nine separate runs, timed")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--write", action="store_true", help="the page from the JSON file")
    options = parser.parse_args(words)
    options.only = options.only.split(",")
    if unknown := sorted(set(options.only) - set(PARTS)):
        parser.error(f"--only must be of {','.join(PARTS)}, got {', '.join(unknown)}")
    if not 1 <= options.alone <= len(GRID):
        parser.error(f"--alone must be from 1 to {len(GRID)}, got {options.alone}")
    return options


if __name__ == "__main__":
    sys.exit(main())
