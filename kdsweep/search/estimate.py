"""What a search would take at most, its own config standing for the points it will choose."""

from collections.abc import Sequence

from rich.console import Console

from kdsweep.config.schema import SearchConfig
from kdsweep.plan import Plan
from kdsweep.run import Session
from kdsweep.search.run_cache import Runs
from kdsweep.sweep.estimate.worklist import Cohort, Task, before, cohorts_of, tell


def forecast(
    runs: Runs, session: Session, options: SearchConfig, trials: int, block: int, finalists: int
) -> None:
    """Print what all trials take if none is raced out or pruned.

    Args:
        trials: of the whole search, whatever is done of it.
        block: trials that are trained together.
        finalists: trials that are trained again.
    """
    first = options.seeds[-1] + 1
    again = range(first, first + options.finalist_seeds) if finalists else range(0)
    plans = {seed: runs.plan(0, {}, seed)[1] for seed in (*options.seeds, *again)}
    runs.check(list(plans.values())[:1])
    console = Console()
    told = f"at most {trials} trials with seed={_listed(options.seeds)}"
    told += f", then {finalists} finalists with seed={_listed(again)}" if again else ""
    console.print(f"{told}; nothing was trained")
    name = next(iter(plans.values())).name
    told = f"each taken to cost what {name} costs; racing and pruning make it less"
    console.print(told, markup=False)
    blocks = [min(block, trials - start) for start in range(0, trials, block)]
    capacity = runs.launcher.cohort_size
    cohorts = before([Task(plan) for plan in plans.values()], capacity, None)
    for seed in options.seeds:
        cohorts += _cohorts(plans[seed], blocks, capacity)
    for seed in again:
        cohorts += _cohorts(plans[seed], [finalists], capacity)
    tell(cohorts, session, console)


def _cohorts(plan: Plan, blocks: Sequence[int], capacity: int | None) -> list[Cohort]:
    """A run of every trial, block by block."""
    return [cohort for size in blocks for cohort in cohorts_of([Task(plan)] * size, capacity)]


def _listed(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))
