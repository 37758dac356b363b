"""Train the same small sweeps in two checkouts and compare fingerprints and weights.

    git worktree add /tmp/before main
    python benchmarks/same_numbers.py /tmp/before
    python benchmarks/same_numbers.py /tmp/before --weights  # NUMERICS has been raised

For changes that must not alter results: a sweep of every kind is trained by the
other checkout and by this one, on this machine, and all of its runs, teachers, stages and peers are
compared by fingerprint and by the SHA-256 of their weights. The exit code is 1 if one differs. A
change that raises NUMERICS alters all fingerprints; ``--weights`` shows which sweeps it leaves
as they were.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kdsweep.common.files import read_json

HERE = Path(__file__).parents[1]
SMALL = [
    *["dataset=fake", "dataset.source.shape=[1,8,8]", "dataset.source.num_train=160"],
    *["dataset.source.num_test=40", "trainer.epochs=2", "trainer.batch_size=32"],
    *["tracking=none", "tracking.report=false"],
]
TEACHER = ["teacher.model.width=4", "teacher.trainer.epochs=1"]
SWEEPS = {
    "ce": ["loss=ce", "student.model.width=8"],
    "kl": [*TEACHER, "T=1,4", "student.model.width=8"],
    "fitnet": [*TEACHER, "loss=[kl,fitnet]", "student=cnn"],
    "crd": [*TEACHER, "loss=crd", "student=cnn"],
    "peers": ["teacher=peers", "student=cnn"],
    "online": [*TEACHER, "teacher.online=true", "student=cnn"],
    "assistant": [
        *["teacher=assistant", "student=cnn", "teacher.model.width=4", "teacher.trainer.epochs=2"],
        "teacher.teacher.trainer.epochs=1",
    ],
    "ensemble": ["teacher=ensemble", "student=cnn"],
    "born again": ["teacher=born_again", "student=cnn", "teacher.trainer.epochs=1"],
    "stages": [*TEACHER, "stages=hints", "stages.hints.epochs=2", "student=cnn"],
    "bf16": [*TEACHER, "trainer.precision=bf16", "student=cnn"],
    "search": [
        *[*TEACHER, "search=bayes", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2"],
        *["search.finalists=1", "search.finalist_seeds=1", "student.model.width=8"],
    ],
}

Numbers = dict[str, tuple[str, str]]


def numbers(checkout: Path, words: list[str]) -> Numbers:
    """Fingerprint and weights of every run of one command, by folder."""
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            [sys.executable, str(checkout / "train.py"), *SMALL, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if ended.returncode != 0:
            raise RuntimeError(f"{checkout}: {ended.stdout}{ended.stderr}")
        (sweep,) = (path.parent for path in Path(folder).glob("multirun/**/sweep.json"))
        results = {
            str(path.parent.relative_to(above)): read_json(path)
            for above in (sweep, Path(folder, "teachers"))
            for path in above.glob("**/result.json")
        }
    return {key: (run["fingerprint"], run["weights_sha256"]) for key, run in results.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--sweep", choices=SWEEPS, action="append", help="default: all of them")
    parser.add_argument("--weights", action="store_true", help="fingerprints may differ")
    options = parser.parse_args()
    shown = Table("sweep", "runs", "fingerprints", "weights")
    is_same = True
    for name in options.sweep or SWEEPS:
        before = numbers(options.other.resolve(), SWEEPS[name])
        after = numbers(HERE, SWEEPS[name])
        marks = [{run[place] for run in before.values()} for place in (0, 1)]
        ours = [{run[place] for run in after.values()} for place in (0, 1)]
        same = [len(before) == len(after) and a == b for a, b in zip(marks, ours, strict=True)]
        is_same = is_same and all(same[1:] if options.weights else same)
        shown.add_row(name, str(len(after)), *("same" if one else "[red]differ" for one in same))
    Console().print(shown)
    return int(not is_same)


if __name__ == "__main__":
    sys.exit(main())
