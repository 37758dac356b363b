"""One run of a sweep under a stock launcher (basic, joblib, ...), which knows only its own job."""

from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.errors import RunFailed, UserError
from kdsweep.plan import check, make_plans
from kdsweep.run import Place, Session, train_cohort
from kdsweep.sweep.folder import open_sweep
from kdsweep.sweep.jobs import is_search, sweep_name
from kdsweep.sweep.launcher import objective
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
    swept = _swept(whole)
    job = list(hydra.overrides.task)
    number = 0 if hydra.mode == RunMode.RUN else int(hydra.job.num)
    plans = make_plans([cfg], [job], number, swept)
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
    return objective(result)


def _sweep_config(folder: Path) -> DictConfig | None:
    """The controller's config, as BasicSweeper notes it in the sweep's folder."""
    note = folder / "multirun.yaml"
    if not note.is_file():
        return None
    config = OmegaConf.load(note)
    assert isinstance(config, DictConfig)
    return config


def _swept(config: DictConfig) -> list[str]:
    """The keys that the command line or the sweeper's params vary."""
    words = list(config.hydra.overrides.task)
    words += [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


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
