"""The run that the user names: by its folder, its id in MLflow, its name, or as a sweep's best."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.common.notices import note_once
from kdsweep.errors import UserError
from kdsweep.tracking import run_dir
from kdsweep.tracking.best_run import best_run, only_run
from kdsweep.tracking.find_sweep import (
    MULTIRUN,
    SHORT_ID,
    find_sweep,
    latest_sweep,
    named_folder,
    sweep_folder,
    sweep_of,
)
from kdsweep.tracking.metadata import read_fingerprint, read_result, read_run_metadata
from kdsweep.tracking.mlflow.history import history
from kdsweep.tracking.mlflow.store import FOLDER_TAG, MLflowStore

if TYPE_CHECKING:
    from mlflow.entities import Run

STORE = Path("teachers")
BEST = "/best"
OF_SEVERAL = ("sweep", "search", "trial")  # roles of MLflow runs that stand for several runs
# What is downloaded of a run without a folder here: its name among the artifacts and in a folder.
ARTIFACTS = {
    **{f"config/{name}": name for name in (run_dir.CONFIG, run_dir.OVERRIDES)},
    run_dir.RESULT: run_dir.RESULT,
    run_dir.WEIGHTS: run_dir.WEIGHTS,
    run_dir.CLASSIFIER: run_dir.CLASSIFIER,
}


def find_run(
    word: str, open_store: Callable[[], MLflowStore], downloads: Path, key: str = "RUN"
) -> Path:
    """The folder of one run, with its config, its result and its weights as far as there are any.

    Args:
        word: as for `find_local_run`; or the id of a run that only MLflow has, which may be
            shortened.
        open_store: the MLflow store; called only if no folder is found.
        downloads: the folder for the files of a run that has no folder here, in one named by its
            id.
        key: what the user has given the word for, for the messages.

    Raises UserError if the word names no run, or several.
    """
    if (folder := find_local_run(word, key)) is not None:
        return folder
    store = open_store()
    run = find_mlflow_run(word, store, key)
    return _own_folder(run) or _download(run, store, downloads)


def find_local_run(word: str, key: str = "RUN") -> Path | None:
    """The folder here of one run; None if the word may be the id of a run that is in MLflow only.

    Args:
        word: the run's folder or that of a sweep of one run, also relative to multirun/; its id in
            MLflow, which may be shortened; its fingerprint or its name, if only one run below
            multirun/ and teachers/ has it; `SWEEP/best` for the best of a sweep by validation,
            `best` for that of the latest sweep.

    Raises UserError if the word names no run, or several.
    """
    if f"/{word}".endswith(BEST) and not Path(word).exists():
        return _best_of(word, key)
    if (sweep := sweep_folder(word)) is not None:
        return only_run(sweep, key)
    if (folder := named_folder(word)) is not None:
        return _in_folder(run_dir.real_folder(folder), key)
    if folders := recorded_as(word):
        return _single(word, folders, key)
    if (sweep := find_sweep(word)) is not None:
        return only_run(sweep, key)
    if SHORT_ID.fullmatch(word):
        return None
    raise UserError(
        f"{key} must be a run's folder, its id in MLflow, its fingerprint or its name, got {word}"
    )


def _best_of(word: str, key: str) -> Path:
    if f"/{word}" == BEST:
        sweep: Path | None = latest_sweep(f"{key} must be a run's folder, got {word}")
    else:
        sweep = find_sweep(word.removesuffix(BEST))
    if sweep is None:
        raise UserError(
            f"{key} must be SWEEP/best with the folder of a sweep, its name under {MULTIRUN}/ or"
            f" the id of its run in MLflow, got {word}"
        )
    folder, row = best_run(sweep, key)
    note_once(f"{key}: {word} is {folder}, {row['name']}, val/acc {row['val/acc']:.2%}")
    return folder


def _in_folder(folder: Path, key: str) -> Path:
    """The folder itself; of a run that was folded into an equal one, the folder of that one."""
    result = read_result(folder)
    if result is not None and result.same_as is not None:
        return (sweep_of(folder) or folder.parent) / result.same_as
    if result is None and read_run_metadata(folder) is None:
        raise UserError(
            f"{key} must be a run's folder (with a {run_dir.RUN} or a {run_dir.RESULT}), got"
            f" {folder}"
        )
    return folder


def recorded_as(word: str) -> list[Path]:
    """The folders here of the runs with this id, fingerprint or name."""
    notes = [path for top in (MULTIRUN, STORE) for path in top.glob(f"**/{run_dir.RUN}")]
    folders = []
    for folder in sorted(note.parent for note in notes):
        known = read_run_metadata(folder) or {}
        run_id = str(known.get("mlflow_run_id") or "")
        by_id = SHORT_ID.fullmatch(word) is not None and run_id.startswith(word)
        if by_id or word in (known.get("fingerprint"), known.get("name")):
            folders.append(folder)
    return folders


def _single(word: str, folders: list[Path], key: str) -> Path:
    if len(folders) > 1:
        more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
        raise UserError(
            f"{key} must be a single run, got {word}, which is in"
            f" {', '.join(map(str, folders[:5]))}{more}"
        )
    return folders[0]


def find_mlflow_run(word: str, store: MLflowStore, key: str = "RUN") -> "Run":
    """The run in MLflow with this id, which may be shortened, or fingerprint.

    Raises UserError if there is none, or several.
    """
    runs = store.search(f"attributes.run_id LIKE '{word}%'")
    runs = runs or store.search(f"tags.`kdsweep.fingerprint` = '{word}'")
    if not runs:
        raise UserError(f"{key} must be the id of a run of the experiment, got {word}")
    if len(runs) > 1:
        ids = ", ".join(str(run.info.run_id) for run in runs[:5])
        raise UserError(f"{key} must be the id of one run, got {word}, which may be {ids}")
    (run,) = runs
    if (role := run.data.tags.get("kdsweep.role")) in OF_SEVERAL:
        raise UserError(f"{key} must be a single run, got {word}, a {role}")
    return run


def _own_folder(run: "Run") -> Path | None:
    """The folder that a run in MLflow was recorded in, if that is here and still holds it."""
    tags = run.data.tags
    folder, known = Path(tags.get(FOLDER_TAG, "")), tags.get("kdsweep.fingerprint")
    is_here = known is not None and FOLDER_TAG in tags and read_fingerprint(folder) == known
    return folder if is_here else None


def _download(run: "Run", store: MLflowStore, downloads: Path) -> Path:
    """The files of a run in MLflow, and its metrics, in a folder as of a run."""
    run_id = str(run.info.run_id)
    folder = downloads / run_id
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in ARTIFACTS.items():
        above = name.rpartition("/")[0] or None
        if name not in {item.path for item in store.client.list_artifacts(run_id, above)}:
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        here = Path(store.client.download_artifacts(run_id, name, str(folder)))
        here.replace(folder / path)
    (folder / run_dir.METRICS).unlink(missing_ok=True)
    for row in history(store.client, run):
        run_dir.append_row(folder, row)
    return folder
