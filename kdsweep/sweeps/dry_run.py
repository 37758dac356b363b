"""What `dry_run=true` prints: every run, what is there of it, and how long the rest would take."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from kdsweep.common.text import counted
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.target import RunTarget, SweepLocation, recorded_result
from kdsweep.execution.worklist import epochs_done, pending, split_finished
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.directory import run_targets
from kdsweep.sweeps.estimate.probing import print_estimate
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.sweeps.resuming import starts_afresh
from kdsweep.tracking.printing import print_line
from kdsweep.training.partition import partition


def print_plan(
    jobs: HydraJobs, specs: Sequence[RunSpec], earlier: Path | None, context: TrainingContext
) -> None:
    """Print what a sweep would train; ``earlier`` is a directory with some of it."""
    console, resume = Console(), specs[0].config.resume
    _list_runs(specs, earlier, jobs.cohort_size, console)
    if earlier is not None and not resume:
        text = f"resume=true continues in {earlier}; this is for starting afresh"
        print_line(console, text)
    if earlier is None and resume:
        print_line(console, starts_afresh(jobs))
    resumed = earlier if resume else None
    sweep = SweepLocation(resumed or jobs.folder)
    missing, _ = split_finished(run_targets(sweep, specs))
    print_estimate(pending(missing, sweep, jobs.cohort_size), context, console)


def _list_runs(
    specs: Sequence[RunSpec], folder: Path | None, capacity: int | None, console: Console
) -> None:
    """Print every run, and what is there of it already."""
    cohorts = partition([spec.cohort_key for spec in specs], capacity)
    first: dict[str, int] = {}
    for spec in specs:
        state = "missing"
        if (owner := first.setdefault(spec.fingerprint, spec.number)) != spec.number:
            state = f"same as run {owner}"
        elif folder is not None:
            target = RunTarget(spec, folder / str(spec.number))
            result = recorded_result(target)
            if result is not None and result.status == "FINISHED":
                state = "done"
            elif epochs_done(target):
                state = "resumable"
        name = escape(spec.name)
        line = f"{spec.number:>4}  {name}  [dim]{spec.fingerprint}  {state}[/dim]"
        console.print(line, soft_wrap=True)
    if stages := len({stage.fingerprint for spec in specs for stage in spec.stages}):
        console.print(f"      before them {counted(stages, 'stage')}")
    in_cohorts = f"{counted(len(first), 'run')} in {counted(len(cohorts), 'cohort')}"
    console.print(f"{in_cohorts}; nothing was trained")
