"""One run of a sweep under a stock launcher (basic, joblib, ...), which knows only its own job."""

from pathlib import Path

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.errors import RunFailed, UserError
from kdsweep.plan import Plan, check, make_plans
from kdsweep.run import Place, Result, Session, train_cohort
from kdsweep.sweep.folder import open_sweep, result_of
from kdsweep.sweep.jobs import is_search, sweep_name, swept_by
from kdsweep.sweep.launcher import folder_is_chosen, objective
from kdsweep.tracking.files import read_json
from kdsweep.tracking.mlflow_store import MLflowStore
from kdsweep.tracking.progress import Progress
from kdsweep.tracking.recorder import sync


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
        session = Session(plans[0].values["tracking"], progress)
        check(plans, session.dataset)
        parent = None
        if hydra.mode != RunMode.RUN:
            sweep = open_sweep(
                folder.parent,
                session,
                name=sweep_name(whole),
                role="search" if is_search(whole) else "sweep",
                nested=bool(swept),
                plans=plans,
            )
            parent = sweep.parent_id
        try:
            place = Place(plans[0], folder, parent)
            (result,) = train_cohort([place], session, resume=bool(cfg.resume))
        finally:
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


def sync_folder(folder: Path) -> str:
    """Ship what is missing of a run folder, or of every run of a sweep folder.

    Raises:
        UserError: if the folder holds no run, or its store cannot be used.
    """
    notes = sorted(folder.rglob("run.json"))
    if not notes:
        raise UserError(f"FOLDER must be the folder of a run or a sweep, got {folder}")
    stores: dict[str, MLflowStore] = {}
    rows = 0
    for note in notes:
        tracking = OmegaConf.load(note.parent / "config.yaml").tracking
        if tracking.uri is None:
            raise UserError(f"tracking.uri must name a store to ship to, got null in {note.parent}")
        key = f"{tracking.uri} {tracking.experiment}"
        try:
            if key not in stores:
                stores[key] = MLflowStore.open(
                    tracking.uri, tracking.experiment, tracking.artifacts
                )
            rows += sync(note.parent, stores[key])
        except ValueError as error:
            raise UserError(str(error)) from error
    names = ", ".join(read_json(note)["name"] for note in notes[:3])
    more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
    return f"shipped {rows} rows that were missing of {names}{more}"
