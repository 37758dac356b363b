"""What a sweep costs: the tables of docs/performance.md and the sentence of the README.

    make bench DATA=FOLDER                          # measures all, writes the page and the README
    python benchmarks/performance.py --data FOLDER  # measures all, into benchmarks/performance.json
    python benchmarks/performance.py --write        # writes the page from that file
    python benchmarks/performance.py --only vgg,starts --rounds 1 --batches 1  # prints a part
    python benchmarks/performance.py --only many,against --many 500 --against CHECKOUT --add

FOLDER holds train/<class>/ and test/<class>/ with images of 32 x 32, such as those of CIFAR-10;
without it they are made. Two parts are measured on request only, because they are long: `many` runs
in a sweep, and the same command of another checkout; --add keeps what the file of results has. The
machine must be idle: other work moves the floors, too. The exit code is 3 if a bound of
speed/comparisons.py does not hold.
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

from speed.checkouts import time_checkouts
from speed.cohorts import GRID, WORKS, image_words, load_images
from speed.comparisons import compare
from speed.contents import blocks
from speed.machine import describe_machine
from speed.memory import measure_memory
from speed.pages import write_blocks
from speed.start_times import time_starts
from speed.step_times import Extent, settings, time_steps
from speed.summary import sentence
from speed.sweep_costs import FEW, KINDS, RUNS, WITH_ALL, measure_sweeps
from speed.worker_times import time_workers

TOP = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".json")
PARTS = (*WORKS, "starts", "sweeps", "workers", "memory")
ON_REQUEST = ("many", "against")  # each also an option, of what it needs
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
    known = json.loads((options.out or RESULTS).read_text()) if options.add else None
    results = measure(options)
    if known is not None:
        results = added(known, results)
    has_all = options.add or set(PARTS) <= set(options.only)
    out = options.out or (RESULTS if has_all else None)
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
        "workers": partial(_workers, results, options),
        "memory": partial(_memory, results, options),
        "many": partial(_many, results, options),
        "against": partial(_against, results, options),
    }
    for part in options.only:
        began = time.perf_counter()
        measures[part]()
        results["seconds"][part] = round(time.perf_counter() - began)
    return results


def added(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Known results with new ones of further parts, or of the same parts measured again.

    Parts on request have their own number of rounds; the others must have those of the known ones.
    """
    is_on_request = set(new["seconds"]) <= set(ON_REQUEST)
    for name in ("machine",) if is_on_request else ("machine", "extent"):
        if known[name] != new[name]:
            sys.exit(f"--add requires the same {name}, got {new[name]} instead of {known[name]}")
    merged = {"seconds", "steps"}
    parts = {name: part for name, part in new.items() if name not in {*merged, "extent"}}
    return {**known, **parts} | {name: known[name] | new[name] for name in merged}


def _steps(results: dict[str, Any], options: argparse.Namespace, key: str) -> None:
    work = WORKS[key]
    images = words_of_images(key, options)
    extent = Extent(options.rounds, options.alone, options.threads)
    dataset = load_images((*images, *work.words))
    watch = Progress(work.name, options.rounds)
    results["steps"][key] = time_steps(work, images, settings(work), dataset, extent, watch)


def _starts(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress("until the first step", options.command_rounds)
    rounds = options.command_rounds
    results["starts"] = time_starts(options.data, options.images, rounds, watch)


def _sweeps(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress(f"{RUNS} one-epoch runs", options.command_rounds)
    commands = dict.fromkeys(KINDS, (FEW, RUNS))
    results["sweeps"] = asdict(measure_sweeps(commands, options.command_rounds, watch))


def _workers(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress("one worker and two", options.command_rounds)
    results["workers"] = time_workers(options.command_rounds, watch)


def _many(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress(f"{options.many} one-epoch runs", options.command_rounds)
    commands = {WITH_ALL: (FEW, RUNS, options.many)}
    results["many"] = asdict(measure_sweeps(commands, options.command_rounds, watch))


def _against(results: dict[str, Any], options: argparse.Namespace) -> None:
    watch = Progress("two checkouts", options.command_rounds)
    results["against"] = time_checkouts(options.against, options.command_rounds, watch)


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
    rounds |= dict.fromkeys(("starts", "sweeps", "workers", *ON_REQUEST), "command_rounds")
    seconds = 0.0
    for part in options.only:
        if part not in known["seconds"]:
            continue
        factor = 1.0
        if (name := rounds.get(part)) is not None:  # and the warm-up
            factor = (getattr(options, name) + 1) / (known["extent"][name] + 1)
        if part in known["extent"]["batches"]:
            factor *= batches_of(options)[part] / known["extent"]["batches"][part]
        seconds += factor * known["seconds"][part]
    return f"about {seconds / 60:.0f} minutes, if this machine is a {known['machine']['cpu']}, too"


def show(results: dict[str, Any]) -> int:
    """Print summary and tables of what was measured, and the bounds; 3 if one does not hold."""
    for text in blocks(results).values():
        print(f"\n{text}")
    comparisons = list(compare(results))
    print(*comparisons, sep="\n")
    return 0 if all(comparison.holds for comparison in comparisons) else MISSED


def write(path: Path, top: Path) -> int:
    """Write the page and the README of a checkout from a JSON file of all parts."""
    results = json.loads(path.read_text())
    if missing := [part for part in PARTS if part not in results["seconds"]]:
        sys.exit(f"{path.name} must have all parts, it lacks {', '.join(missing)}")
    write_blocks(top / "docs" / "performance.md", blocks(results))
    write_blocks(top / "README.md", {"sentence": sentence(results)})
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of images; without it they are made")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--command-rounds", type=int, default=7, help="of whole commands")
    parser.add_argument("--batches", type=int, help="of 128 images, in an epoch; default: 2 or 1")
    parser.add_argument("--alone", type=int, default=2, help="of nine separate runs, timed")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--images", type=Path, help="folder of many images, to be read twice")
    parser.add_argument("--many", type=int, help="runs of a large sweep, a multiple of 10")
    parser.add_argument(
        "--against", type=Path, help="another checkout, such as an earlier commit's"
    )
    known = (*PARTS, *ON_REQUEST)
    parser.add_argument("--only", help=f"of {','.join(known)}; default: all that is given")
    parser.add_argument("--add", action="store_true", help="to the JSON file, as further parts")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--write", action="store_true", help="the page from the JSON file")
    options = parser.parse_args(words)
    given = [part for part in ON_REQUEST if getattr(options, part) is not None]
    options.only = options.only.split(",") if options.only else [*PARTS, *given]
    if unknown := sorted(set(options.only) - set(known)):
        parser.error(f"--only must be of {','.join(known)}, got {', '.join(unknown)}")
    if missing := sorted(set(options.only) & set(ON_REQUEST) - set(given)):
        parser.error(f"--{missing[0]} must be given for this part")
    if options.many is not None and (options.many <= RUNS or options.many % 10):
        parser.error(f"--many must be a multiple of 10 above {RUNS}, got {options.many}")
    for name in ("rounds", "command_rounds", "batches", "threads"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if not 1 <= options.alone <= len(GRID):
        parser.error(f"--alone must be from 1 to {len(GRID)}, got {options.alone}")
    return options


if __name__ == "__main__":
    sys.exit(main())
