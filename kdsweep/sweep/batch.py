"""What the lockstep launcher does with a batch of jobs, from plans to results."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from kdsweep.build import build_stream
from kdsweep.common.files import write_json_atomic
from kdsweep.common.passwords import redact_text
from kdsweep.data.pipeline.stream import sample_images
from kdsweep.errors import UserError
from kdsweep.identity import swept_keys, without_effect
from kdsweep.plan import Plan, check, make_plans, stages_of
from kdsweep.plotting.drawing import forgiving
from kdsweep.plotting.plots import samples as samples_plot
from kdsweep.run import Place, Result, Session
from kdsweep.sweep.cohorts import refuse_without_validation, train
from kdsweep.sweep.directory import (
    CLAIM,
    Sweep,
    find,
    holds_runs,
    open_sweep,
    refuse_another,
    refuse_while_trained,
    release,
)
from kdsweep.sweep.estimate.worklist import tell, workload
from kdsweep.sweep.finalize import publish
from kdsweep.sweep.launcher import command_words, is_search, task_of
from kdsweep.sweep.session import open_session
from kdsweep.tracking.console import Progress
from kdsweep.tracking.disk import is_full
from kdsweep.tracking.metadata import SWEEP_DEFAULTS, fingerprint_in, result_of, sweep_note
from kdsweep.training.partition import partition

if TYPE_CHECKING:
    from kdsweep.sweep.launcher import LockstepLauncher

SAMPLES = 32  # images on the sheet that shows what the students see


def launch(
    launcher: "LockstepLauncher",
    configs: Sequence[DictConfig],
    jobs: Sequence[Sequence[str]],
    first: int,
) -> Sequence[JobReturn]:
    """Train a batch of jobs in lockstep and return them in their order."""
    searching = is_search(launcher.config)
    swept = swept_by(launcher.config) if searching else swept_keys(jobs)
    plans = make_plans([task_of(config) for config in configs], jobs, first, swept)
    _refuse(plans, jobs, swept, searching)
    if launcher.cohort_size is not None and launcher.cohort_size < 1:
        raise UserError(
            f"hydra.launcher.cohort_size must be null or at least 1, got {launcher.cohort_size}"
        )
    with Progress(total_runs=len(plans)) as progress:
        values = plans[0].values
        earlier = _earlier(launcher, plans) if values["resume"] or values["dry_run"] else None
        if launcher.session is None:
            launcher.session = open_session(_tracking(plans[0]), progress, earlier)
        session = launcher.session
        session.progress = progress
        check(plans, session.dataset)
        if searching:
            refuse_without_validation(plans, session)
        if values["dry_run"]:
            _list(plans, earlier, launcher)
            _estimate(plans, earlier, launcher, session)
            release(launcher.folder)
            return []
        if values["resume"]:
            _go_on(launcher, earlier, progress)
        sweep = open_sweep(
            launcher.folder,
            session,
            name=sweep_name(launcher.config),
            role="search" if searching else "sweep",
            nested=searching or len(plans) > 1 or any(plan.has_company for plan in plans),
            plans=plans,
            alone=True,
        )
        return _train(launcher, configs, plans, session, sweep)


def _tracking(plan: Plan) -> dict[str, Any]:
    """Where runs are tracked; no store is made or written where nothing is trained."""
    return {**plan.values["tracking"], **({"uri": None} if plan.values["dry_run"] else {})}


def swept_by(config: DictConfig) -> list[str]:
    """The keys that the command line or the sweeper's params vary."""
    words = command_words(config)
    words += [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create().parse_overrides(words)
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


def sweep_name(config: DictConfig) -> str:
    """The words of the command line, as the name of the sweep's parent run."""
    words = command_words(config)
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}))
    assert isinstance(params, dict)
    named = [word.split("=")[0] for word in words]
    words += [f"{key!s}={value}" for key, value in params.items() if key not in named]
    return redact_text(" ".join(words)) or "defaults"


def _refuse(
    plans: Sequence[Plan], jobs: Sequence[Sequence[str]], swept: Sequence[str], searching: bool
) -> None:
    """Requests that are well-formed and still make no sense."""
    refuse_search_keys(plans[0])
    if not searching:
        if idle := without_effect(jobs, [plan.fingerprint for plan in plans]):
            keys = " and ".join(idle)
            raise UserError(f"{keys} must change some run of the sweep to be swept, got no effect")
        return
    if plans[0].values["resume"]:
        raise UserError("resume must be false in a search of the stock sweeper, got true")
    if "seed" in swept:
        raise UserError("seed must have one value in a search, got several: chance is no choice")
    if plans[0].values["dry_run"]:
        raise UserError("dry_run must be false in a search, got true: its runs are not known yet")


def refuse_search_keys(plan: Plan) -> None:
    """Keys of our own search do nothing in a grid or under another sweeper."""
    for word in plan.overrides:
        if word.startswith("search."):
            key, _, value = word.partition("=")
            raise UserError(f"{key} must be left out unless search=bayes searches, got {value}")


def _train(
    launcher: "LockstepLauncher",
    configs: Sequence[DictConfig],
    plans: Sequence[Plan],
    session: Session,
    sweep: Sweep,
) -> list[JobReturn]:
    results: dict[str, Result] = {}
    try:
        returns = [launcher.open_job(config, sweep.folder) for config in configs]
        _picture(plans[0], session, sweep)
        todo = _unfinished(plans, sweep, session, results)
        places = [Place(plan, sweep.run_folder(plan.number), sweep.parent_id) for plan in todo]
        results |= train(
            places,
            session,
            capacity=launcher.cohort_size,
            resume=bool(plans[0].values["resume"]),
        )
        _share(plans, sweep, results)
    except BaseException as error:
        _publish_unfinished(sweep.folder, session, error)
        raise
    publish(sweep.folder, session)
    for config, job, plan in zip(configs, returns, plans, strict=True):
        launcher.close_job(config, job, results[plan.fingerprint])
    return returns


def _publish_unfinished(folder: Path, session: Session, error: BaseException) -> None:
    """Publish what there is of a sweep that was ended; why it was ended matters more than this."""
    try:
        publish(folder, session, error)
    except OSError as another:
        if not is_full(error):
            session.progress.note(f"the results of {folder} could not be written: {another}")


def _picture(plan: Plan, session: Session, sweep: Sweep) -> None:
    """A sheet of augmented training images, as the students are about to see them."""
    if session.plots == "none" or sweep.parent_id is None:
        return
    dataset, path = session.dataset(plan.values), sweep.folder / "samples.png"
    with forgiving(str(path)):
        images, labels = sample_images(build_stream(plan.values, dataset, "cpu"), SAMPLES)
        samples_plot(images, labels, dataset.class_names, path)


def _unfinished(
    plans: Sequence[Plan], sweep: Sweep, session: Session, results: dict[str, Result]
) -> list[Plan]:
    """The runs to be trained: each fingerprint once, without those that are done already."""
    todo: dict[str, Plan] = {}
    for plan in plans:
        done = result_of(sweep.run_folder(plan.number), plan.fingerprint)
        if done is not None and done["status"] == "FINISHED":
            results.setdefault(plan.fingerprint, done)
            if done["same_as"] is None:
                session.catch_up(sweep.run_folder(plan.number))
        else:
            todo.setdefault(plan.fingerprint, plan)
    return [plan for mark, plan in todo.items() if mark not in results]


def _share(plans: Sequence[Plan], sweep: Sweep, results: dict[str, Result]) -> None:
    """Give jobs that are the same run its result; `same_as` says whose it is."""
    first: dict[str, int] = {}
    for plan in plans:
        owner = first.setdefault(plan.fingerprint, plan.number)
        if owner != plan.number:
            shared = {**results[plan.fingerprint], "same_as": str(owner)}
            write_json_atomic(sweep.run_folder(plan.number) / "result.json", shared)


def _go_on(launcher: "LockstepLauncher", folder: Path | None, progress: Progress) -> None:
    """Move into the folder of the earlier sweep of these runs, or into the one that was chosen."""
    if folder is None:
        progress.note("resume: no earlier sweep of these runs, this one starts afresh")
        folder = launcher.chosen or launcher.folder
        if launcher.folder != folder:
            shutil.copy(launcher.folder / "multirun.yaml", folder)
    else:
        progress.note(f"resume: goes on in {folder}")
    (folder / CLAIM).touch()
    if folder != launcher.folder:
        release(launcher.folder)
        launcher.move_to(folder)


def _earlier(launcher: "LockstepLauncher", plans: Sequence[Plan]) -> Path | None:
    """The earlier sweep of these runs: in the folder the user named, else in any next to it.

    Raises:
        UserError: if the folder that the user named holds another sweep, or one being trained.
    """
    if (chosen := launcher.chosen) is not None:
        if not holds_runs(chosen):
            return find(chosen, plans)
        batches = launcher.config.hydra.sweeper.get("max_batch_size") is not None
        refuse_another(chosen, plans, whole=not batches)
        refuse_while_trained(chosen, sweep_note(chosen) or SWEEP_DEFAULTS)
        return chosen
    root = Path("multirun") if Path("multirun").is_dir() else launcher.folder.parent
    return find(root, plans)


def _list(plans: Sequence[Plan], folder: Path | None, launcher: "LockstepLauncher") -> None:
    """What `dry_run=true` prints: every run, and what is there of it already."""
    cohorts = partition([plan.needs for plan in plans], launcher.cohort_size)
    console = Console()
    seen: dict[str, int] = {}
    for plan in plans:
        state = _state(folder / str(plan.number), plan) if folder is not None else "missing"
        if (owner := seen.setdefault(plan.fingerprint, plan.number)) != plan.number:
            state = f"same as run {owner}"
        name = escape(plan.name)
        console.print(f"{plan.number:>4}  {name}  [dim]{plan.fingerprint}  {state}[/dim]")
    if stages := len({stage.fingerprint for plan in plans for stage in stages_of(plan)}):
        console.print(f"      before them {_counted(stages, 'stage')}")
    in_cohorts = f"{_counted(len(seen), 'run')} in {_counted(len(cohorts), 'cohort')}"
    console.print(f"{in_cohorts}; nothing was trained")


def _estimate(
    plans: Sequence[Plan], earlier: Path | None, launcher: "LockstepLauncher", session: Session
) -> None:
    """What else `dry_run=true` prints: what is still to be trained, and what that takes."""
    console = Console()
    resume = bool(plans[0].values["resume"])
    if earlier is not None and not resume:
        text = f"resume=true goes on in {earlier}; this is for starting afresh"
        console.print(text, markup=False)
    tell(workload(plans, launcher.cohort_size, earlier if resume else None), session, console)


def _counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _state(folder: Path, plan: Plan) -> str:
    result = result_of(folder, plan.fingerprint)
    if result is not None and result["status"] == "FINISHED":
        return "done"
    begun = fingerprint_in(folder) == plan.fingerprint and any(folder.glob("checkpoint/epoch-*"))
    return "resumable" if begun else "missing"
