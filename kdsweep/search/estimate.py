"""The cost of a search, at most: every trial is taken to cost what its base config costs."""

from collections.abc import Sequence

from rich.console import Console

from kdsweep.plan import Plan
from kdsweep.search.plan import SearchPlan
from kdsweep.search.run_cache import RunCache
from kdsweep.sweep.estimate.worklist import Cohort, Task, before, cohorts_of, tell


def estimate_search(plan: SearchPlan, runs: RunCache) -> None:
    """Print the cost of all trials if none is raced out or pruned, whatever is done of them."""
    seeds, trials = plan.options.seeds, plan.n_trials
    finalists = min(plan.finalists, trials)
    fresh_seeds = plan.finalist_seeds if finalists else range(0)
    run_of = {seed: runs.plan(0, {}, seed)[1] for seed in (*seeds, *fresh_seeds)}
    runs.check([run_of[seeds[0]]])
    console = Console()
    again = f", then {finalists} finalists with seed={_listed(fresh_seeds)}" if fresh_seeds else ""
    console.print(f"at most {trials} trials with seed={_listed(seeds)}{again}; nothing was trained")
    console.print(
        f"each taken to cost what {run_of[seeds[0]].name} costs; racing and pruning make it less",
        markup=False,
    )
    size, capacity = plan.block_size, runs.launcher.cohort_size
    blocks = [min(size, trials - start) for start in range(0, trials, size)]
    cohorts = before([Task(run) for run in run_of.values()], capacity, None)
    for seed in seeds:
        cohorts += _cohorts(run_of[seed], blocks, capacity)
    for seed in fresh_seeds:
        cohorts += _cohorts(run_of[seed], [finalists], capacity)
    tell(cohorts, runs.session, console)


def _cohorts(run: Plan, blocks: Sequence[int], capacity: int | None) -> list[Cohort]:
    """One run for each trial, block by block."""
    return [cohort for size in blocks for cohort in cohorts_of([Task(run)] * size, capacity)]


def _listed(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))
