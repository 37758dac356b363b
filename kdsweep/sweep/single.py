"""One run of a sweep under a stock launcher (basic, joblib, ...), which knows only its own job."""

from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.errors import RunFailed, UserError
from kdsweep.plan import Plan, check, make_plans
from kdsweep.run import Place, Result, Session
from kdsweep.sweep.cohorts import train
from kdsweep.sweep.folder import open_sweep, result_of
from kdsweep.sweep.jobs import is_search, refuse_search_keys, sweep_name, swept_by
from kdsweep.sweep.launcher import folder_is_chosen, objective
from kdsweep.tracking.files import read_json
from kdsweep.tracking.progress import Progress

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
    swept = swept_by(whole)
    job = list(hydra.overrides.task)
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
            )
            parent = sweep.parent_id
        try:
            place = Place(plans[0], folder, parent)
            result = train([place], session, resume=bool(cfg.resume))[plans[0].fingerprint]
        finally:
            if hydra.mode != RunMode.RUN and session.settling is not None:
                session.settling.limit(JOB_SECONDS)
            session.close()
    if result["status"] != "FINISHED":
        raise RunFailed(f"{result['name']}: {result['reason']}")
    if hydra.mode == RunMode.RUN:
        print(f"{result['name']}: val/acc {objective(result):.4f}, all of it in {folder}")
    return objective(result)


def open_session(tracking: dict[str, Any], progress: Progress, sweep: Path) -> Session:
    """A session for a job; an MLflow that is away stops no sweep that has begun.

    Raises:
        UserError: if the store cannot be used and no other job of the sweep has used it.
    """
    try:
        return Session(tracking, progress)
    except UserError as error:
        note = sweep / "sweep.json"
        if not note.is_file() or read_json(note)["tracking_uri"] is None:
            raise
        progress.note(f"{error}; `kdsweep sync {sweep}` ships this run later")
        return Session({**tracking, "uri": None}, progress)


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
    if not (folder / "run.json").is_file():
        return None
    if read_json(folder / "run.json")["fingerprint"] != plan.fingerprint or not resume:
        raise UserError(
            f"hydra.sweep.dir must be a folder of its own, got {folder.parent}, which holds"
            " another sweep (resume=true goes on with the same runs)"
        )
    result = result_of(folder)
    return result if result is not None and result["status"] == "FINISHED" else None


def _sweep_config(folder: Path) -> DictConfig | None:
    """The controller's config, as BasicSweeper notes it in the sweep's folder."""
    note = folder / "multirun.yaml"
    if not note.is_file():
        return None
    config = OmegaConf.load(note)
    assert isinstance(config, DictConfig)
    return config
