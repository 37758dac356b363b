"""The CIFAR-10 recipes at a reduced scale, next to the figures published at full scale.

    python benchmarks/published.py ROOT     # trains what is missing, then prints the tables
    python benchmarks/published.py          # prints them

The second table has the figures published for CIFAR-100, by method and pair; none measured here.
ROOT holds CIFAR-10 as images, train/<class> and test/<class>: for docs/results.md the first 500 and
100 of each class. Each recipe is one sweep in multirun/published/RECIPE; the same command resumes
it. Three seeds, the last epoch, test accuracy; no selection.
"""

import argparse
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kdsweep.cli import CONF
from kdsweep.tracking.results_table import collect

TRAIN = Path(__file__).parents[1] / "train.py"
FOLDER = Path("multirun/published")
PAIRS_IN_A_TABLE = 5
COMMON = ["dataset=image_folder", "dataset.val_fraction=0.1", "seed=0,1,2"]
MOVED = ["dataset.augment.crop_padding=4", "dataset.augment.flip=true"]  # as dataset=cifar10 does
# A few hundred steps instead of tens of thousands as published: therefore ten times Adam's learning
# rate, and a tenth of the teacher's, which stays at chance otherwise; milestones at the same share.
KD_PYTORCH = [
    *MOVED,
    *["dataset.per_class=200", "trainer.epochs=6", "optimizer.lr=1e-3"],
    *["teacher.trainer.epochs=10", "teacher.schedule.milestones=[5,8]"],
    *["teacher.trainer.batch_size=64", "teacher.optimizer.lr=0.01"],
]
TUTORIAL = ["dataset.per_class=450", "trainer.epochs=12", "optimizer.lr=1e-3"]
TUTORIAL_TEACHER = ["teacher.trainer.epochs=8", "teacher.optimizer.lr=1e-3"]
SCALED = {
    "tutorial_ce": TUTORIAL,
    "tutorial_cosine": [*TUTORIAL, *TUTORIAL_TEACHER],
    "tutorial_fitnet": [*TUTORIAL, *TUTORIAL_TEACHER],
    "kd_pytorch_baseline": KD_PYTORCH,
    "kd_pytorch_temperature": KD_PYTORCH,
    "kd_pytorch_alpha": KD_PYTORCH,
    "kd_pytorch_targets": KD_PYTORCH,
    "kd_pytorch_sgd": [
        *(word for word in KD_PYTORCH if not word.startswith("optimizer")),
        "schedule.milestones=[3,5]",
    ],
}


def main() -> None:
    """Train every recipe, then print one table of them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?")
    options = parser.parse_args()
    if options.root is not None:
        for recipe, words in SCALED.items():
            command = [f"experiment={recipe}", *COMMON, f"dataset.root={options.root}", *words]
            command += ["resume=true", "tracking=none", f"hydra.sweep.dir={FOLDER / recipe}"]
            print("$ python train.py", *command, flush=True)
            subprocess.run([sys.executable, str(TRAIN), *command], check=True)
    print_ours()
    print()
    print_pairs()


def print_ours() -> None:
    """One row per cell, in the order of the recipes."""
    print("| recipe | cell | published | ours, reduced: mean | sd | n |\n|---|---|---|---|---|---|")
    for recipe in SCALED:
        published = OmegaConf.load(CONF / "experiment" / f"{recipe}.yaml").published.acc
        for cell, runs in by_cell(collect(FOLDER / recipe)).items():
            accs = [100 * run["test/acc"] for run in runs]
            spread = f"{statistics.stdev(accs):.2f}" if len(accs) > 1 else ""
            print(
                f"| `{recipe}` | {cell} | {shown(published.get(cell))}"
                f" | {statistics.fmean(accs):.2f} | {spread} | {len(accs)} |"
            )


def print_pairs() -> None:
    """One row per method and one column per pair of networks, five pairs per table."""
    paths = sorted((CONF / "experiment" / "pair").glob("*.yaml"))
    known = {path.stem: OmegaConf.load(path).published for path in paths}
    names = list(known)
    for first in range(0, len(names), PAIRS_IN_A_TABLE):
        columns = names[first : first + PAIRS_IN_A_TABLE]
        methods = dict.fromkeys(method for name in columns for method in known[name].acc)
        rows = [["teacher alone", *(f"{known[name].teacher:.2f}" for name in columns)]]
        rows += [[f"`{m}`", *(shown(known[name].acc.get(m)) for name in columns)] for m in methods]
        print("| method |", " | ".join(f"`{name}`" for name in columns), "|")
        print("|---|" + "---|" * len(columns))
        for row in rows:
            print("|", " | ".join(row), "|")
        print()


def shown(figure: float | None) -> str:
    """A figure in percent, empty if none was published."""
    return "" if figure is None else f"{figure:.2f}"


def by_cell(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The finished runs of each cell."""
    cells = defaultdict(list)
    for row in rows:
        if row["status"] == "FINISHED":
            cells[row["cell"]].append(row)
    return dict(cells)


if __name__ == "__main__":
    main()
