"""The run that is trained again: what is recorded of it, and the spec of the same run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdsweep.common.text import error_reason
from kdsweep.config.interpolation import raw
from kdsweep.config.limits import unknown_keys
from kdsweep.config.run_config import MEMBER_NAME, RunConfig, from_public
from kdsweep.config.schema import TrainConfig
from kdsweep.config.validate import validation_errors
from kdsweep.errors import UserError
from kdsweep.runs.build_specs import SpecBuilder
from kdsweep.runs.naming import Cell
from kdsweep.runs.spec import RunSpec
from kdsweep.tracking.metadata import read_result, read_run_config, read_run_metadata
from kdsweep.tracking.result import RunResult
from kdsweep.tracking.run_dir import CONFIG, OVERRIDES


@dataclass(frozen=True)
class Original:
    """A finished run. ``result.weights_sha256`` is not None."""

    folder: Path
    result: RunResult
    config: dict[str, Any]  # as in its config.yaml
    metadata: Mapping[str, Any]  # of its run.json; empty if it is known from MLflow alone

    @property
    def params(self) -> Mapping[str, Any]:
        """Values of its config by their keys, as they were when it was trained."""
        return dict(self.metadata.get("params") or {})

    @property
    def environment(self) -> Mapping[str, str]:
        """The software and the machine; empty for a run of an earlier version."""
        return dict((self.result.provenance or {}).get("environment", {}))

    @property
    def inputs(self) -> dict[str, str]:
        """The digests of its data and its teachers, the former perhaps only with 16 digits."""
        known = (self.result.provenance or {}).get("inputs", {})
        dataset = self.metadata.get("dataset") or {}
        return known or ({"dataset": str(dataset["digest"])} if "digest" in dataset else {})


def read_original(folder: Path) -> Original:
    """The run in a folder. Raises UserError if it cannot be trained again on its own."""
    result = read_result(folder)
    if result is None or result.status != "FINISHED" or result.weights_sha256 is None:
        raise UserError(f"RUN must be a run that has finished, got {folder}, {_state(result)}")
    if (member := _member(folder, result)) is not None:
        raise UserError(
            f"RUN must be a run that is trained on its own, got {folder}, {member}, which is"
            " trained together with a run: rerun that one"
        )
    config = read_run_config(folder)
    if config is None:
        raise UserError(
            f"RUN must be a run with its config, got {folder}, whose {CONFIG} is missing or damaged"
        )
    return Original(folder, result, raw(config), read_run_metadata(folder) or {})


def _state(result: RunResult | None) -> str:
    if result is None:
        return "which has no result"
    reason = "" if result.reason is None else f" ({result.reason})"
    return f"which is {result.status}{reason}"


def _member(folder: Path, result: RunResult) -> str | None:
    """What a run is that has no training of its own; None for all others."""
    if result.role == "peer":
        return "a peer"
    name = (result.provenance or {}).get("derived", {}).get(MEMBER_NAME)
    is_online = result.role == "teacher" and folder.name == f"teacher-{result.fingerprint}"
    return "an online teacher" if name is not None or is_online else None


def spec_of(original: Original) -> RunSpec:
    """The spec of the same run, with the data and the teachers as they are now.

    Its fingerprint is another one if the config, the data or the numerics of kdsweep have changed
    since. Raises UserError if the config is not valid, or something that it names is not there.
    """
    result = original.result
    builder = SpecBuilder()
    specs = []
    for derived in _possibly_derived(original):
        config = _config(original, derived)
        cell = Cell(result.cell or config.loss_name, config.loss_name, result.T, result.alpha)
        specs.append(builder.of_config(config, cell))
    spec = next((s for s in specs if s.fingerprint == result.fingerprint), specs[0])
    words = _overrides(original.folder)
    peers = {name: replace(peer, overrides=words) for name, peer in spec.peers.items()}
    return replace(spec, overrides=words, peers=peers)


def _config(original: Original, derived: Mapping[str, Any]) -> RunConfig:
    try:
        _check_types(original.config)
        config = from_public(original.config, derived)
        errors = validation_errors(config)
    except (OmegaConfBaseException, TypeError, ValueError, KeyError, AttributeError) as error:
        key = getattr(error, "full_key", None)
        where = f"{original.folder / CONFIG}{f' in {key}' if key else ''}"
        raise UserError(
            f"RUN must be a run with a valid config, got {where}: {error_reason(error)}"
        ) from error
    if errors:
        raise UserError("\n".join(errors))
    return config


def _check_types(values: Mapping[str, Any]) -> None:
    """Raises OmegaConf's error for a value that is not of its key's type."""
    added = set(unknown_keys(TrainConfig, values))

    def without_added(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        return {
            key: without_added(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in node.items()
            if f"{prefix}{key}" not in added
        }

    OmegaConf.merge(OmegaConf.structured(TrainConfig), without_added(values))


def _possibly_derived(original: Original) -> list[Mapping[str, Any]]:
    """What `config.yaml` lacks; runs of earlier versions have not recorded it.

    In the configs that kdsweep comes with, a weight that equals alpha is `${alpha}`.
    """
    provenance = original.result.provenance
    return [_assumed(original.config), {}] if provenance is None else [provenance["derived"]]


def _assumed(node: Any, alpha: object = None) -> dict[str, Any]:
    if not isinstance(node, dict):
        return {}
    alpha, terms = node.get("alpha", alpha), node.get("loss")
    terms = [term for term in terms.values() if isinstance(term, dict)] if terms else []
    own = {"alpha_weighted": True} if any(t.get("weight") == alpha for t in terms) else {}
    return own | {key: nested for key, value in node.items() if (nested := _assumed(value, alpha))}


def _overrides(folder: Path) -> tuple[str, ...]:
    """The words of its job, which are recorded again; they decide nothing."""
    path = folder / OVERRIDES
    words = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else []
    return tuple(map(str, words)) if isinstance(words, list) else ()
