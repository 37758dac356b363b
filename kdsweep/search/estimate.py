"""The cost of a search, at most: every trial is taken to cost what its base config costs."""

from collections.abc import Sequence

from rich.console import Console

from kdsweep.execution.worklist import cohorts, pending
from kdsweep.search.plan import SearchPlan
from kdsweep.search.search_runs import SearchRuns
from kdsweep.sweeps.estimate.probing import print_estimate
from kdsweep.tracking.printing import print_line


def estimate_search(plan: SearchPlan, runs: SearchRuns) -> None:
    """Print the cost of all trials if none is raced out or pruned, whatever is done of them."""
    seeds, trials = plan.options.seeds, plan.n_trials
    finalists = min(plan.finalists, trials)
    fresh_seeds = plan.finalist_seeds if finalists else range(0)
    # In a folder that does not exist: nothing is done of a run.
    target_of = {
        seed: runs.run(0, {}, seed).target._replace(run_dir=plan.folder / "none")
        for seed in (*seeds, *fresh_seeds)
    }
    first_run = target_of[seeds[0]].spec
    runs.preflight([first_run])
    console = Console()
    again = f", then {finalists} finalists with seed={_listed(fresh_seeds)}" if fresh_seeds else ""
    console.print(f"at most {trials} trials with seed={_listed(seeds)}{again}; nothing was trained")
    print_line(
        console, f"each taken to cost what {first_run.name} costs; racing and pruning make it less"
    )
    size, capacity = plan.block_size, runs.jobs.cohort_size
    blocks = [min(size, trials - start) for start in range(0, trials, size)]
    units = [unit for unit in pending([*target_of.values()], None, capacity) if unit.role != "run"]
    for seed, target in target_of.items():
        for runs_of_block in blocks if seed in seeds else [finalists]:
            units += cohorts([target] * runs_of_block, capacity)
    print_estimate(units, runs.context, console)


def _listed(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))
