"""One run of a sweep under a stock launcher (basic, joblib, ...), which knows only its own job."""

from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.config.limits import refuse_sweep
from kdsweep.errors import RunFailed, UserError
from kdsweep.identity import CONTROL
from kdsweep.plan import Plan, check, make_plans
from kdsweep.run import Place, Result
from kdsweep.sweep.batch import refuse_search_keys, sweep_name, swept_by
from kdsweep.sweep.cohorts import train
from kdsweep.sweep.directory import holds_runs, open_sweep
from kdsweep.sweep.launcher import (
    command_words,
    folder_is_chosen,
    is_search,
    objective,
    refuse_idle_folders,
)
from kdsweep.sweep.session import open_session
from kdsweep.tracking.console import Progress
from kdsweep.tracking.metadata import find_result, read_fingerprint

JOB_SECONDS = 5.0  # that the end of a job waits for MLflow: the end of the sweep waits again


def train_one(cfg: DictConfig, hydra: HydraConf) -> float:
    """Train the run of one job into its own folder and return what a sweeper maximises.

    Raises:
        UserError: if the config asks for what cannot be.
        RunFailed: if the run ended without a result.
    """
    folder = Path(hydra.runtime.output_dir)
    config = OmegaConf.create({"hydra": hydra})
    whole = _sweep_config(Path(str(hydra.sweep.dir))) or config
    if not is_search(whole):
        refuse_sweep(command_words(whole))
    swept = swept_by(whole)
    job = command_words(config)
    number = 0 if hydra.mode == RunMode.RUN else int(hydra.job.num)
    plans = make_plans([cfg], [job], number, swept)
    done = _refuse_or_find(plans[0], folder, whole)
    if done is not None:
        return objective(done)
    with Progress(total_runs=1) as progress:
        session = open_session(plans[0].values["tracking"], progress, folder.parent)
        check(plans, session.dataset)
        parent = None
        if hydra.mode != RunMode.RUN:
            sweep = open_sweep(
                folder.parent,
                session,
                name=sweep_name(whole),
                role="search" if is_search(whole) else "sweep",
                nested=bool(swept) or plans[0].has_company,
                plans=plans,
                alone=False,
            )
            parent = sweep.parent_id
        try:
            place = Place(plans[0], folder, parent)
            result = train([place], session, resume=bool(cfg.resume))[plans[0].fingerprint]
        finally:
            if hydra.mode != RunMode.RUN and session.retrier is not None:
                session.retrier.limit(JOB_SECONDS)
            session.close()
    if result["status"] != "FINISHED":
        raise RunFailed(f"{result['name']}: {result['reason']}")
    if hydra.mode == RunMode.RUN:
        print(f"{result['name']}: val/acc {objective(result):.4f}, all of it in {folder}")
    return objective(result)


def _refuse_or_find(plan: Plan, folder: Path, config: DictConfig) -> Result | None:
    """The result of a run that `resume=true` finds done.

    Raises:
        UserError: for what only the lockstep launcher can do, and for a folder of another run.
    """
    refuse_search_keys(plan)
    if plan.values["dry_run"]:
        raise UserError("dry_run=true needs hydra/launcher=lockstep, got another launcher")
    resume = plan.values["resume"]
    if resume and not folder_is_chosen(config):
        raise UserError(
            "resume=true needs hydra.sweep.dir=FOLDER or hydra/launcher=lockstep, got neither:"
            " no job knows where the earlier sweep is"
        )
    known = read_fingerprint(folder)
    if known is None:
        return None
    if known != plan.fingerprint or not resume:
        raise UserError(_another(folder.parent))
    result = find_result(folder, plan.fingerprint)
    return result if result is not None and result["status"] == "FINISHED" else None


def _another(folder: Path) -> str:
    return (
        f"hydra.sweep.dir must be a folder of its own, got {folder}, which holds"
        " another sweep (resume=true goes on with the same runs)"
    )


def refuse_folder(config: DictConfig) -> None:
    """Refuse folders before a stock launcher writes to them; its jobs know only their own.

    Args:
        config: of the whole sweep.

    Raises:
        UserError: if the sweep's folder holds the runs of another command.
    """
    refuse_idle_folders(config, "hydra.run.dir")
    folder = Path(str(config.hydra.sweep.dir))
    if not folder_is_chosen(config) or not holds_runs(folder):
        return
    earlier = _sweep_config(folder)
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
    if not note.is_file():
        return None
    config = OmegaConf.load(note)
    assert isinstance(config, DictConfig)
    return config
