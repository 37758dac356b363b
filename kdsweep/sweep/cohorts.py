"""Runs into cohorts, cohorts through the loop: what a grid and a search share."""

from collections.abc import Sequence
from contextlib import ExitStack

from filelock import FileLock

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import UserError
from kdsweep.plan import Plan
from kdsweep.run import Place, Result, Session, Watch, finished, stage_of, train_cohort
from kdsweep.tracking.metadata import find_result
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.partition import partition


def train(
    places: Sequence[Place],
    session: Session,
    *,
    capacity: int | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> dict[str, Result]:
    """Train runs in as few cohorts as possible.

    Args:
        places: runs with different fingerprints.
        capacity: most runs a cohort may hold; None for no limit.
        resume: go on from the checkpoints in the folders.
        watch: may end single runs early.

    Returns:
        Each run's result, by fingerprint.
    """
    for stages in _stages_before(places, session):
        _train_missing(stages, session, capacity)
    return _train_cohorts(places, session, capacity, resume, watch)


def _train_cohorts(
    places: Sequence[Place],
    session: Session,
    capacity: int | None,
    resume: bool,
    watch: Watch | None = None,
) -> dict[str, Result]:
    results: dict[str, Result] = {}
    cohorts = partition([place.plan.needs for place in places], capacity)
    for number, members in enumerate(cohorts, start=1):
        cohort = [places[member] for member in members]
        session.teacher([place.plan for place in cohort])
        epochs = cohort[0].plan.values["trainer"]["epochs"]
        session.progress.cohort(number, len(cohorts), len(cohort), epochs)
        ended = _train_or_split(cohort, session, resume, watch)
        results |= {p.plan.fingerprint: r for p, r in zip(cohort, ended, strict=True)}
    return results


def _stages_before(places: Sequence[Place], session: Session) -> list[list[Place]]:
    """What runs begin with, each once: first the stages that have none before them, and so on."""
    found: dict[int, dict[str, Place]] = {}
    for place in places:
        stage = stage_of(place, session)
        while stage is not None and not _has_ended(stage):
            depth = len(stage.plan.values["stages"])
            found.setdefault(depth, {})[stage.plan.fingerprint] = stage
            stage = stage_of(stage, session)
        if stage is not None:
            session.catch_up(stage.folder)
    return [list(found[depth].values()) for depth in sorted(found)]


def _train_missing(stages: Sequence[Place], session: Session, capacity: int | None) -> None:
    """Train stages in lockstep as runs are, save those that another process has trained by now."""
    with ExitStack() as locks:
        for stage in sorted(stages, key=lambda stage: stage.plan.fingerprint):
            home = stage.folder.parent
            home.mkdir(parents=True, exist_ok=True)
            locks.enter_context(FileLock(home / f".{stage.folder.name}.lock"))
        missing = [stage for stage in stages if not _has_ended(stage)]
        for name in dict.fromkeys(stage.plan.cell for stage in missing):
            session.progress.note(f"{name}: trained first")
        _train_cohorts(missing, session, capacity, resume=True)


def _has_ended(stage: Place) -> bool:
    """Whether a stage has its weights, or has failed alone: it would again, to the same bits."""
    if finished(stage) is not None:
        return True
    result = find_result(stage.folder, stage.plan.fingerprint)
    return result is not None and result["status"] == "FAILED" and not result["with_cohort"]


def _failed_for_good(place: Place, result: Result) -> Result:
    """The result of a run that does not even fit into memory alone."""
    final = {**result, "with_cohort": False}
    write_json_atomic(place.folder / "result.json", final)
    return final


def refuse_without_validation(plans: Sequence[Plan], session: Session) -> None:
    """A search chooses by validation; data may bring a set of its own, so the data is asked.

    Raises:
        UserError: if a run's data set holds nothing out.
    """
    for plan in plans:
        if session.dataset(plan.values).val is None:
            raise UserError(
                "dataset.val_fraction must be > 0 in a search, got"
                f" {plan.values['dataset']['val_fraction']:g}: there is nothing to choose by"
            )


def _train_or_split(
    cohort: Sequence[Place], session: Session, resume: bool, watch: Watch | None
) -> list[Result]:
    """Train a cohort; one that does not fit into memory goes on as two halves, to the same bits."""
    try:
        return train_cohort(cohort, session, resume=resume, watch=watch)
    except Exception as error:
        result = find_result(cohort[0].folder, cohort[0].plan.fingerprint)
        if not is_out_of_memory(error) or (len(cohort) == 1 and result is None):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if len(cohort) == 1:
        assert result is not None
        session.progress.note(f"{cohort[0].plan.name} does not fit into memory: {reason}")
        return [_failed_for_good(cohort[0], result)]
    half = len(cohort) // 2
    session.progress.note(f"{len(cohort)} students do not fit into memory, {half} at a time now")
    return [
        result
        for part in (cohort[:half], cohort[half:])
        for result in _train_or_split(part, session, True, watch)
    ]
