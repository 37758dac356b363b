"""One run of a sweep under a stock launcher (basic, joblib, ...), apart from all other runs."""

from pathlib import Path
from typing import cast

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.config.limits import refuse_sweep
from kdsweep.config.overrides import (
    CONTROL,
    command_sweeps,
    command_words,
    is_search,
    is_sweep_dir_given,
    sweep_name,
)
from kdsweep.errors import RunFailed, UserError
from kdsweep.execution.target import RunTarget, recorded_result
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.preflight import preflight
from kdsweep.runs.recipe_names import name_recipes
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.directory import holds_runs
from kdsweep.sweeps.hydra_jobs import objective_value
from kdsweep.sweeps.idle_keys import refuse_search_keys
from kdsweep.sweeps.open_context import open_context, show_destination
from kdsweep.sweeps.other_numerics import OTHER_NUMERICS, has_other_numerics
from kdsweep.sweeps.record import open_sweep
from kdsweep.tracking.console import Progress
from kdsweep.tracking.metadata import read_fingerprint, read_sweep_metadata
from kdsweep.tracking.result import RunResult
from kdsweep.work.inline import train

JOB_SECONDS = 5.0  # that the end of a job waits for MLflow: the end of the sweep waits again


def train_one(cfg: DictConfig, hydra: HydraConf) -> float:
    """Train the run of one job into its own folder and return what a sweeper maximises.

    Raises UserError if the config is not valid, RunFailed if the run ended without a result.
    """
    folder = Path(hydra.runtime.output_dir)
    config = OmegaConf.create({"hydra": hydra})
    whole = _sweep_config(Path(str(hydra.sweep.dir))) or config
    if not is_search(whole):
        refuse_sweep(command_words(whole))
    swept = command_sweeps(whole)
    is_single = hydra.mode == RunMode.RUN
    number = 0 if is_single else int(hydra.job.num)
    with Progress(total_runs=1) as progress:
        specs = build_specs([cfg], [command_words(config)], number, swept)
        (spec,) = name_recipes(specs, always=True)
        target = RunTarget(spec, folder)
        if (done := _refuse_or_find(target, whole)) is not None:
            return objective_value(done)
        tracking, cache = vars(spec.config.tracking), spec.config.cache
        context = open_context(tracking, progress, folder.parent, cache)
        preflight([spec], context.dataset)
        context.open_store()
        if not is_single:
            context.sweep = open_sweep(
                folder.parent,
                context.store,
                name=sweep_name(whole),
                role="search" if is_search(whole) else "sweep",
                nested=bool(swept) or spec.has_auxiliary_runs,
                specs=[spec],
                alone=False,
            )
            target = target._replace(parent_run_id=context.sweep.parent_run_id)
        show_destination(context)
        try:
            result = train([target], context, resume=spec.config.resume)[spec.fingerprint]
        finally:
            if not is_single:
                context.retrier.limit(JOB_SECONDS)
            context.close()
    if result.status != "FINISHED":
        raise RunFailed(f"{result.name}: {result.reason}")
    acc = objective_value(result)
    if is_single:
        print(f"{result.name}: val/acc {acc:.4f}, all of it in {folder}")
    return acc


def refuse_keys(spec: RunSpec, config: DictConfig) -> None:
    """Raise UserError for what only the lockstep launcher can do; ``config`` is of the sweep."""
    refuse_search_keys(spec.overrides)
    if spec.config.dry_run:
        raise UserError("dry_run=true needs hydra/launcher=lockstep, got another launcher")
    if spec.config.resume and not is_sweep_dir_given(config):
        raise UserError(
            "resume=true needs hydra.sweep.dir=FOLDER or hydra/launcher=lockstep, got neither:"
            " no job knows where the earlier sweep is"
        )


def _refuse_or_find(target: RunTarget, config: DictConfig) -> RunResult | None:
    """The result of a run that `resume=true` finds done.

    Raises UserError as `refuse_keys`, and for a folder of another run.
    """
    spec = target.spec
    refuse_keys(spec, config)
    known = read_fingerprint(target.run_dir)
    if known is None:
        return None
    if known != spec.fingerprint or not spec.config.resume:
        raise UserError(_another(target.run_dir.parent))
    result = recorded_result(target)
    return result if result is not None and result.status == "FINISHED" else None


def _another(folder: Path) -> str:
    what = "another sweep (resume=true resumes the same runs)"
    if has_other_numerics(read_sweep_metadata(folder)):
        what = OTHER_NUMERICS
    return f"hydra.sweep.dir must be a folder of its own, got {folder}, which holds {what}"


def refuse_folder(config: DictConfig) -> None:
    """Refuse folders before a stock launcher writes to them; its jobs know only their own.

    ``config`` is that of the whole sweep. Raises UserError if its folder holds the runs of another
    command.
    """
    folder = Path(str(config.hydra.sweep.dir))
    if not is_sweep_dir_given(config) or not holds_runs(folder):
        return
    earlier = _sweep_config(folder)
    if has_other_numerics(read_sweep_metadata(folder)):
        raise UserError(_another(folder))
    if not config.resume or (earlier is not None and _settings(earlier) != _settings(config)):
        raise UserError(_another(folder))


def _settings(config: DictConfig) -> dict[str, str]:
    """What a sweep's command line sets, without where and how."""
    parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    words = {override.key_or_group: str(override.input_line) for override in parsed}
    return {key: word for key, word in words.items() if key.split(".")[0] not in CONTROL}


def _sweep_config(folder: Path) -> DictConfig | None:
    """The controller's config, as BasicSweeper notes it in the sweep's folder."""
    note = folder / "multirun.yaml"
    return cast(DictConfig, OmegaConf.load(note)) if note.is_file() else None
