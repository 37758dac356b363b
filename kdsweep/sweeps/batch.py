"""A batch of jobs under the lockstep launcher, from composed configs to results."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import cast

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from kdsweep.builders.data import build_stream
from kdsweep.builders.sources import DataSources
from kdsweep.common.files import write_json_atomic
from kdsweep.common.text import counted
from kdsweep.config.copying import without_hydra
from kdsweep.config.overrides import (
    command_sweeps,
    is_search,
    keys_without_effect,
    sweep_name,
    swept_keys,
)
from kdsweep.config.run_config import RunConfig
from kdsweep.data.pipeline.stream import sample_images
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.inputs import upload_inputs
from kdsweep.execution.target import RunTarget, SweepLocation
from kdsweep.execution.worklist import split_finished
from kdsweep.plotting.drawing import warn_on_failure
from kdsweep.plotting.samples import draw_samples as samples_plot
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.preflight import preflight, refuse_without_validation
from kdsweep.runs.recipe_names import name_recipes
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.directory import release, run_targets
from kdsweep.sweeps.dry_run import print_plan
from kdsweep.sweeps.estimate.splitting import cohorts_for
from kdsweep.sweeps.finalize import publish
from kdsweep.sweeps.hydra_jobs import HydraJobs
from kdsweep.sweeps.idle_keys import refuse_search_keys
from kdsweep.sweeps.idle_temperature import refuse_idle_temperature
from kdsweep.sweeps.open_context import open_context, show_destination
from kdsweep.sweeps.record import open_sweep
from kdsweep.sweeps.resuming import destination, find_earlier, resume
from kdsweep.sweeps.subdirs import link_subdirs, refuse_several_dirs, refuse_taken, subdirs_of
from kdsweep.tracking.console import Progress
from kdsweep.tracking.disk import is_full
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import RESULT
from kdsweep.work.controller import detach, train_by
from kdsweep.work.executor import Executor, ExecutorFactory, Queue
from kdsweep.work.inline import train
from kdsweep.work.planning import MakeCohorts

SAMPLES = 32  # images on the sheet that shows what the students see


def launch(
    jobs: HydraJobs,
    overrides: Sequence[Sequence[str]],
    first: int,
    chosen: Path | None,
    context: TrainingContext | None,
) -> tuple[TrainingContext, list[JobReturn]]:
    """Train a batch of jobs in lockstep, the ``first`` of which has this number.

    ``chosen`` is the directory of the sweep if the user named it, ``context`` that of an earlier
    batch of the sweep.
    """
    _refuse_cohort_size(jobs.cohort_size)
    configs = [jobs.compose(number, job) for number, job in enumerate(overrides, start=first)]
    refuse_several_dirs(configs, first, chosen)
    subdirs = subdirs_of(configs, first)
    with Progress(total_runs=len(configs)) as progress:
        rests = [without_hydra(config) for config in configs]
        sources = DataSources() if context is None else context.data_sources
        specs = _specs(jobs, rests, overrides, first, sources)
        config = specs[0].config
        earlier = find_earlier(jobs, chosen, specs) if config.resume or config.dry_run else None
        context = context or _context(config, progress, earlier)
        context.progress, context.data_sources = progress, sources
        factory = jobs.find_executor(specs)
        if config.dry_run:
            preflight(specs, context.dataset)
            print_plan(jobs, specs, earlier, context)
            release(jobs.folder)
            return context, []
        folder = destination(jobs, chosen, earlier) if config.resume else jobs.folder
        with _started(factory, specs, folder) as executor:
            preflight(specs, context.dataset)
            if is_search(jobs.config):
                refuse_without_validation(specs, context.dataset)
            if config.resume:
                resume(jobs, folder, earlier, progress)
            refuse_taken(folder, subdirs)
            _open(jobs, folder, specs, context)
            pairs = list(zip(configs, rests, strict=True))
            return context, _train(jobs, pairs, specs, context, subdirs, executor)


def _specs(
    jobs: HydraJobs,
    configs: Sequence[DictConfig],
    overrides: Sequence[Sequence[str]],
    first: int,
    sources: DataSources,
) -> Sequence[RunSpec]:
    """The runs of the jobs, named by what is swept. Raises UserError for a senseless sweep."""
    searching = is_search(jobs.config)
    in_batches = jobs.config.hydra.sweeper.get("max_batch_size") is not None
    swept = command_sweeps(jobs.config) if searching or in_batches else []
    if not searching:
        swept = list(dict.fromkeys([*swept_keys(overrides), *swept]))
    specs = build_specs(configs, overrides, first, swept, sources)
    specs = name_recipes(specs, always=in_batches)
    _refuse(specs, overrides, swept, searching)
    return specs


def _open(
    jobs: HydraJobs, folder: Path, specs: Sequence[RunSpec], context: TrainingContext
) -> None:
    """Open the store and the sweep, its run in MLflow included, and show where they are."""
    searching = is_search(jobs.config)
    context.open_store()
    context.sweep = open_sweep(
        folder,
        context.store,
        name=sweep_name(jobs.config),
        role="search" if searching else "sweep",
        nested=searching or len(specs) > 1 or any(s.has_auxiliary_runs for s in specs),
        specs=specs,
        alone=True,
    )
    show_destination(context)


def _context(config: RunConfig, progress: Progress, earlier: Path | None) -> TrainingContext:
    """The context of a sweep; in that of a dry run no store is made or written."""
    if config.dry_run:
        return TrainingContext(replace(config.tracking, uri=None), progress, config.cache)
    return open_context(vars(config.tracking), progress, earlier, config.cache)


@contextmanager
def _started(
    factory: ExecutorFactory | None, specs: Sequence[RunSpec], folder: Path
) -> Iterator[Executor | None]:
    """The executor of a sweep that has something to train; None: this process trains it.

    It is there before the sweep is checked, so that its workers import everything meanwhile. It is
    closed if the sweep is refused; jobs that an earlier command has submitted are left.
    """
    executor = None
    if factory is not None and split_finished(run_targets(SweepLocation(folder), specs))[0]:
        executor = factory(folder)
    try:
        yield executor
    except BaseException:
        if executor is not None:
            executor.close(leave=True)
        raise


def _refuse_cohort_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise UserError(f"hydra.launcher.cohort_size must be null or at least 1, got {size}")


def _refuse(
    specs: Sequence[RunSpec], jobs: Sequence[Sequence[str]], swept: Sequence[str], searching: bool
) -> None:
    """Refuse requests that are well-formed and still make no sense."""
    refuse_search_keys(specs[0].overrides)
    if not searching:
        refuse_idle_temperature(specs, swept)
        if idle := keys_without_effect(jobs, [spec.fingerprint for spec in specs]):
            keys = " and ".join(idle)
            raise UserError(f"{keys} must change some run of the sweep to be swept, got no effect")
        return
    if specs[0].config.resume:
        raise UserError("resume must be false in a search of the stock sweeper, got true")
    if "seed" in swept:
        raise UserError("seed must have one value in a search, got several: chance is no choice")
    if specs[0].config.dry_run:
        raise UserError("dry_run must be false in a search, got true: its runs are not known yet")


def _train(
    jobs: HydraJobs,
    configs: Sequence[tuple[DictConfig, DictConfig]],
    specs: Sequence[RunSpec],
    context: TrainingContext,
    subdirs: Mapping[int, PurePath],
    executor: Executor | None,
) -> list[JobReturn]:
    """Train the jobs; of each there is its config, and the same without its `hydra` node."""
    assert context.sweep is not None, "the sweep is open"
    folder = context.sweep.folder
    targets = run_targets(context.sweep, specs)
    missing, finished = split_finished(targets)
    try:
        link_subdirs(folder, subdirs)
        returns = [jobs.open(config, folder, rest=rest) for config, rest in configs]
        context.progress.leave_out(len(targets) - len(missing))
        results: dict[str, RunResult] = {}
        for key, (target, result) in finished.items():
            results[key] = result
            if result.same_as is None:
                context.upload_missing(target.run_dir)
        upload_inputs([target for target, _ in finished.values()], context)
        if executor is None:
            resumes = specs[0].config.resume
            results |= train(missing, context, capacity=jobs.cohort_size, resume=resumes)
        else:
            make_cohorts = partial(
                cohorts_for,
                context=context,
                capacity=jobs.cohort_size,
                workers=executor.workers,
            )
            if jobs.is_detached:
                _detach(cast("Queue", executor), missing, context, make_cohorts)
                return []
            results |= train_by(executor, missing, context, make_cohorts)
        _write_duplicates(targets, results)
        _draw_samples(specs[0], context, folder)
    except BaseException as error:
        try:  # publish what there is of it; what stopped the sweep matters more
            publish(folder, context, error)
        except OSError as another:
            if not is_full(error):
                context.progress.note(f"the results of {folder} could not be written: {another}")
        raise
    jobs.hand_over(publish(folder, context))
    for (config, _), job, spec in zip(configs, returns, specs, strict=True):
        jobs.close(config, job, results[spec.fingerprint])
    return returns


def _detach(
    queue: Queue, targets: Sequence[RunTarget], context: TrainingContext, make_cohorts: MakeCohorts
) -> None:
    """Submit everything, and leave the rest of the sweep to `kdsweep attach`."""
    assert context.sweep is not None
    folder, count = context.sweep.folder, detach(queue, targets, context, make_cohorts)
    context.progress.note(
        f"{counted(count, 'unit')} in the queue; `kdsweep status {folder}` shows how far they are,"
        f" `kdsweep attach {folder}` uploads and evaluates their runs"
    )
    context.upload_pending()


def _draw_samples(spec: RunSpec, context: TrainingContext, folder: Path) -> None:
    """A sheet of augmented training images, as the students have seen them in the first epoch."""
    assert context.sweep is not None
    if context.options.plots == "none" or context.sweep.parent_run_id is None:
        return
    dataset, path = context.dataset(spec.config), folder / "samples.png"
    with warn_on_failure(str(path)):
        images, labels = sample_images(build_stream(spec.config, dataset, "cpu"), SAMPLES)
        samples_plot(images, labels, dataset.class_names, path)


def _write_duplicates(targets: Sequence[RunTarget], results: dict[str, RunResult]) -> None:
    """Write the result of jobs that are the same run; `same_as` is the number of the first."""
    first: dict[str, int] = {}
    for target in targets:
        spec = target.spec
        owner = first.setdefault(spec.fingerprint, spec.number)
        if owner != spec.number:
            duplicate = replace(results[spec.fingerprint], same_as=str(owner))
            write_json_atomic(target.run_dir / RESULT, duplicate.to_json())
