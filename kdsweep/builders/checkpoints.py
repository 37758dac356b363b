"""Weights that a run or a library has: the file of them takes the place of their name.

A checkpoint is a file of weights, a run's folder or id, or `SWEEP/best`; a start may also be a
folder of Hugging Face or a name of timm or torchvision. A config in which each is a file has the
fingerprint of these weights, however they were named.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hydra.utils import get_object

from kdsweep.builders.starts import (
    folder_file,
    library_file,
    with_description,
    with_normalization,
)
from kdsweep.common.notices import note_once
from kdsweep.common.validation import shown
from kdsweep.config.added_keys import without_added_of_model
from kdsweep.config.interpolation import raw
from kdsweep.config.run_config import ResolvedPeer, ResolvedTeacher, RunConfig
from kdsweep.config.schema import StudentConfig, TrackingConfig
from kdsweep.errors import UserError
from kdsweep.tracking.find_run import BEST, find_run
from kdsweep.tracking.find_sweep import SHORT_ID, named_folder, sweep_folder
from kdsweep.tracking.metadata import read_result, read_run_config
from kdsweep.tracking.mlflow.backend import describe_store_error
from kdsweep.tracking.mlflow.store import MLflowStore
from kdsweep.tracking.run_dir import RESULT, RUN, WEIGHTS
from kdsweep.training.checkpoint import has_digest
from kdsweep.training.weight_files import recognise
from kdsweep.training.weight_match import split_selection

Node = TypeVar("Node", StudentConfig, ResolvedPeer, ResolvedTeacher)

MLFLOW = "runs:/"  # how MLflow writes the address of a run
DOWNLOADS = "downloads"  # of runs without a folder here, in the store of teachers
# Options of networks that make no difference once a network is trained.
IN_TRAINING = ("dropout", "drop_rate", "drop_path_rate")
NUMBER = re.compile(r"[\d.]+(e[+-]?\d+)?|inf")  # what Hydra makes of an id such as 12e4
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")


class _WeightsFile(NamedTuple):
    """A file of weights, with the folder of its run if it was named by that."""

    file: str
    run: Path | None = None


class CheckpointFiles:
    """The files of weights that configs name; what several configs name is looked up once."""

    def __init__(self) -> None:
        self._files: dict[str, _WeightsFile] = {}

    def resolve(self, config: RunConfig) -> tuple[RunConfig, list[str]]:
        """The config with a file as every checkpoint and start, and a message where none is named.

        A network that starts from weights of its library expects images as these do.
        """
        errors: list[str] = []
        tracking, downloads = config.tracking, Path(config.teacher.store) / DOWNLOADS

        def find(node: Node, option: str, key: str) -> _WeightsFile | None:
            """What an option of a node names; None if it is left out or wrong."""
            if (word := getattr(node, option)) is None:
                return None
            try:
                return self._find(word, option, key, node.model, tracking, downloads)
            except UserError as error:
                errors.append(str(error))
            except OSError as error:  # a name that is too long, a folder that cannot be read
                errors.append(
                    f"{key}.{option} must be a file of weights or a run, got {word},"
                    f" which cannot be read ({error.strerror})"
                )
            return None

        def of(node: Node, key: str) -> Node:
            try:
                return _with_files(node, key, find)
            except UserError as error:
                errors.append(str(error))
                return node

        def of_teacher(node: ResolvedTeacher, key: str) -> ResolvedTeacher:
            below = node.teacher
            return replace(
                of(node, key),
                teacher=None if below is None else of_teacher(below, f"{key}.teacher"),
                members={
                    name: of_teacher(member, f"{key}.members.{name}")
                    for name, member in node.members.items()
                },
                peers={name: of(peer, f"{key}.peers.{name}") for name, peer in node.peers.items()},
            )

        student = of(config.student, "student")
        teacher = of_teacher(config.teacher, "teacher")
        return replace(config, student=student, teacher=teacher), errors

    def _find(
        self,
        word: str,
        option: str,
        key: str,
        model: Mapping[str, Any] | None,
        tracking: TrackingConfig,
        downloads: Path,
    ) -> _WeightsFile:
        """What a checkpoint or a start names. Raises UserError if that is nothing."""
        at = f"{key}.{option}"
        if option == "start":
            of_library = _of_start(word, at, model, downloads)
            if of_library is not None:
                return of_library
        if word not in self._files:
            self._files[word] = _find(word, at, tracking, downloads)
        file = self._files[word]
        if file.run is not None and model is not None:
            described = with_description(dict(model), f"{key}.model") or {}
            _refuse_other_network(file.run, key, described, option)
        return file


def _with_files(
    node: Node, key: str, find: Callable[[Node, str, str], _WeightsFile | None]
) -> Node:
    """A network with a file as its checkpoint and start, and images normalised as these want.

    Raises UserError if its model is a folder of something else.
    """
    model: Any = with_description(node.model, f"{key}.model")
    checkpoint, start = find(node, "checkpoint", key), find(node, "start", key)
    if checkpoint is not None:
        node = replace(node, checkpoint=checkpoint.file)
    if start is not None:
        node = replace(node, start=start.file)
        if start.run is None:  # else the normalisation is that of the run
            model = with_normalization(model)
    return replace(node, model=model)


def _of_start(
    word: str, key: str, model: Mapping[str, Any] | None, downloads: Path
) -> _WeightsFile | None:
    """What a start names that a checkpoint cannot: a folder of Hugging Face, a library's weights.

    And the file of a run's weights as its run, whose normalisation is known.
    """
    path, _ = split_selection(word)
    if path.is_file():
        run = path.parent.parent
        return _WeightsFile(word, run) if path == run / WEIGHTS and _is_run(run) else None
    if path.is_dir():
        file = None if _is_run(path) else folder_file(path, key, model, downloads)
        return None if file is None else _WeightsFile(str(file))
    file_of_library = library_file(word, key, model, downloads)
    return None if file_of_library is None else _WeightsFile(file_of_library)


def _find(word: str, key: str, tracking: TrackingConfig, downloads: Path) -> _WeightsFile:
    """The file of a checkpoint, and the folder of the run that it belongs to, if it names one."""
    path, _ = split_selection(word)
    if path.is_file():
        try:
            recognise(path)
        except ValueError as error:
            raise UserError(f"{key} {error}") from error
        return _WeightsFile(word)
    folder = _run_folder(word.rstrip("/"), key, tracking, downloads)
    return _WeightsFile(str(final_weights(folder, key)), folder)


def _run_folder(word: str, key: str, tracking: TrackingConfig, downloads: Path) -> Path:
    """The folder of the run that a checkpoint names. Raises UserError if it names none."""
    run = word.removeprefix(MLFLOW)
    named = named_folder(run)
    is_named = named is not None or run.endswith(BEST)
    if named is not None and not _is_run(named) and sweep_folder(run) is None:
        raise UserError(f"{key} must be a file of weights or a run, got {_described(named)}")
    if not is_named and not SHORT_ID.fullmatch(run):
        also = "a run's folder or id and SWEEP/best are allowed, too"
        if NUMBER.fullmatch(word):
            also = f"an id that is also a number, 12e4, needs quotes: '{key}=\"12e4\"'"
        got = word or "no name"
        raise UserError(f"{key} must be a file of weights, got {got}, which does not exist; {also}")
    try:
        folder = find_run(run, lambda: _open_store(word, key, tracking), downloads, key)
    except Exception as error:  # of MLflow's client, whatever it raises
        if (reason := describe_store_error(error)) is None:
            raise
        raise UserError(
            f"{key} must be a file of weights or a run, got {word}, for which the MLflow store does"
            f" not work: {reason}"
        ) from error
    if not is_named:
        note_once(f"{key}: {word} is {folder}")
    return folder


def _open_store(word: str, key: str, tracking: TrackingConfig) -> MLflowStore:
    if tracking.uri is None:
        raise UserError(
            f"{key} must be a file of weights or a run, got {word}, which no run here has as its id"
            " (tracking.uri=null: MLflow is not searched)"
        )
    try:
        return MLflowStore.existing(tracking.uri, tracking.experiment)
    except ValueError as error:
        text = str(error).replace("--uri", "tracking.uri")
        raise UserError(
            f"{key} must be a file of weights or a run, got {word}, which no run here has as its"
            f" id; {text.replace('--experiment', 'tracking.experiment')}"
        ) from error


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RESULT, RUN))


def _described(folder: Path) -> str:
    """A folder that is no run's, with what in it may be meant."""
    files = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)
    runs = sorted(path.name for path in folder.iterdir() if path.is_dir() and _is_run(path))
    named, kind = (files, "file") if files else (runs, "run")
    if not named:
        return f"{folder}, a folder without a {RESULT} and without a file of weights"
    more = ", ..." if len(named) > 3 else ""
    return f"{folder}, a folder; name a {kind} in it: {', '.join(named[:3])}{more}"


def final_weights(folder: Path, key: str) -> Path:
    """The final weights of a run. Raises UserError if it has not finished or has lost them."""
    result, weights = read_result(folder), folder / WEIGHTS
    problem = None
    if result is None or result.status != "FINISHED":
        problem = "has not ended" if result is None else f"is {result.status}"
    elif not weights.is_file():
        problem = f"has no {WEIGHTS}"
    elif not has_digest(weights, result.weights_sha256):
        problem = f"has another {WEIGHTS} than it has trained"
    if problem is not None:
        raise UserError(
            f"{key} must be a finished run with its weights, got {folder}, which {problem}"
        )
    return weights


def _refuse_other_network(folder: Path, key: str, model: Mapping[str, Any], option: str) -> None:
    """Raises UserError if the network of a run is another one than that of a config."""
    config = read_run_config(folder)
    student = None if config is None else raw(config).get("student")
    if not isinstance(student, dict) or not isinstance(student.get("model"), dict):
        return  # the names and shapes of its weights decide
    of_run, own = student["model"], dict(model)
    if of_run.get("_target_") != own.get("_target_"):
        differing = [f"is {student.get('name')} ({of_run.get('_target_')})"]
        given = str(own.get("_target_"))
    else:
        defaults = _defaults(str(own.get("_target_")))
        of_run, own = (
            {**defaults, **(without_added_of_model(node) or {})} for node in (of_run, own)
        )
        names = [
            name
            for name in dict.fromkeys([*of_run, *own])
            if name not in IN_TRAINING and of_run.get(name) != own.get(name)
        ]
        differing = [f"has {name}={shown(of_run.get(name))}" for name in names]
        given = " and ".join(f"{name}={shown(own.get(name))}" for name in names)
    if differing:
        raise UserError(
            f"{key}.model must be the network of the run that {key}.{option} names, which"
            f" {' and '.join(differing)} ({folder}), got {given}"
        )


def _defaults(target: str) -> dict[str, Any]:
    """The options of a network of kdsweep and their defaults: older runs lack newer options."""
    if not target.startswith("kdsweep."):
        return {}
    network: Callable[..., Any] = get_object(target)
    parameters = inspect.signature(network).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
