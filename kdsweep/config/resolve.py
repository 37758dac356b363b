"""From a composed config to a RunConfig: interpolations resolved, recipes completed."""

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf, read_write
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from kdsweep.common.passwords import KEYS, register_address
from kdsweep.common.validation import shown
from kdsweep.config.copying import copy_config
from kdsweep.config.interpolation import alpha_weighted, interpolations, raw
from kdsweep.config.interpolation_faults import interpolation_fault, nested_fault
from kdsweep.config.recipes import peer_recipes, teacher_recipe
from kdsweep.config.run_config import (
    ResolvedPeer,
    ResolvedTeacher,
    RunConfig,
    run_config,
    to_values,
)
from kdsweep.config.schema import DROP_PATH, StageConfig, StudentConfig, TeacherConfig
from kdsweep.errors import UserError


def resolve_config(cfg: DictConfig) -> RunConfig:
    """The typed config of a run, with its interpolations resolved.

    The loss terms of a teacher's recipe are those of a run of its own: `${T}`, `${alpha}` and
    `${pairs:...}` in them mean the recipe's, not the root's.

    Raises UserError if an interpolation cannot be resolved, such as to features a network lacks.
    """
    values = _plain(_with_prepared_teacher(cfg))
    values["alpha_weighted"] = alpha_weighted(raw(cfg.loss))
    peers = values["teacher"]["peers"]
    for name, peer in peers.items():
        peers[name] = _complete(StudentConfig, peer, f"teacher.peers.{name}")
    values["teacher"] = _recipe(values, cfg.teacher, "teacher")
    for name, stage in values["stages"].items():
        whole = _complete(StageConfig, stage, f"stages.{name}")
        if whole["epochs"] == MISSING:
            raise UserError(f"stages.{name}.epochs must be given")
        weighted = alpha_weighted(raw(cfg.stages[name].get("loss")))
        values["stages"][name] = {**whole, "alpha_weighted": weighted}
    tracking = values["tracking"]
    for key in ("uri", "artifacts"):  # an interpolation may have led to a password
        tracking[key] = tracking[key] and register_address(tracking[key])
    config = run_config(values)
    for name, recipe in peer_recipes(config).items():
        prefix = f"teacher.peers.{name}: "
        config.teacher.peers[name].loss = _in_scope(raw(cfg.loss), recipe, prefix)
    for network in (config.student, *_networks_of(config.teacher)):
        if network.drop_path is not None and network.model is not None:
            network.model = {**network.model, DROP_PATH: network.drop_path}
    return config


def _networks_of(teacher: ResolvedTeacher) -> Iterator[ResolvedTeacher | ResolvedPeer]:
    """A teacher, its members and peers, and its own teacher with those below it."""
    yield teacher
    yield from teacher.peers.values()
    below = [*teacher.members.values(), *([teacher.teacher] if teacher.teacher else [])]
    for one in below:
        yield from _networks_of(one)


def _with_prepared_teacher(cfg: DictConfig) -> DictConfig:
    """The config with what `_prepared` changes in its teacher; itself if that is nothing."""
    written = raw(cfg.teacher)
    missing = object()
    changes = {k: v for k, v in _prepared(written).items() if written.get(k, missing) != v}
    if not changes:
        return cfg
    changed = copy_config(cfg)
    for key, value in changes.items():
        changed.teacher[key] = value
    return changed


def _in_scope(loss: dict[str, Any], recipe: RunConfig, prefix: str) -> dict[str, Any]:
    """Loss terms with their interpolations resolved in the config of another run."""
    scope = OmegaConf.create({**to_values(recipe), "loss": loss})
    terms: dict[str, Any] = _plain(scope, prefix)["loss"]
    return terms


def hide_passwords(config: DictConfig, keys: Sequence[str] = KEYS) -> None:
    """Take the passwords out of a config's addresses, before Hydra writes it to its files.

    Interpolations stay: Hydra writes them as they are.
    """
    for key in keys:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent)
        if not isinstance(node, DictConfig):
            continue
        value = raw(node).get(name)
        if isinstance(value, str) and value != (hidden := register_address(value)):
            with read_write(node):
                node[name] = hidden


def _plain(cfg: DictConfig, prefix: str = "") -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    except InterpolationResolutionError as error:
        raise UserError(f"{prefix}{interpolation_fault(error, cfg)}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _prepared(recipe: dict[str, Any]) -> dict[str, Any]:
    """What to change in a recipe and in those below it before its interpolations are resolved.

    Terms that only the recipe itself can resolve are taken out. Values to be taken from the student
    are inserted here, not in a yaml, where an override of a nested key would alter the student.
    """
    members, peers = recipe.get("members") or {}, recipe.get("peers") or {}
    student = {key: f"${{student.{key}}}" for key in ("name", "model", "features")}
    root = {
        **{"model": "${student.model}", "image_size": "${student.image_size}"},
        **{"optimizer": "${optimizer}", "schedule": "${schedule}"},
    }
    born_again = recipe.get("born_again")

    def below(node: Any) -> Any:  # what is no mapping is refused when its node is completed
        return {**node, **_prepared(node)} if isinstance(node, dict) else node

    def of_student(peer: Any) -> Any:
        if not isinstance(peer, dict):
            return peer
        depth = {} if peer.get("model") else {DROP_PATH: "${student.drop_path}"}
        return student | depth | {key: value for key, value in peer.items() if value is not None}

    return {
        "loss": {},
        "teacher": below(recipe.get("teacher")),
        "members": {name: below(member) for name, member in members.items()},
        "peers": {name: of_student(peer or {}) for name, peer in peers.items()},
        **({key: recipe.get(key) or given for key, given in root.items()} if born_again else {}),
    }


def _recipe(values: dict[str, Any], node: DictConfig, key: str) -> dict[str, Any]:
    """The recipe `values["teacher"]`, with the loss terms of it and of those below resolved."""
    teacher: dict[str, Any] = values["teacher"]

    def below(recipe: dict[str, Any], node: DictConfig, key: str) -> dict[str, Any]:
        whole = _complete(TeacherConfig, recipe, key)  # Hydra has completed the root's alone
        return _recipe({**values, "teacher": whole}, node, key)

    if teacher["teacher"] is not None:
        teacher["teacher"] = below(teacher["teacher"], node.teacher, f"{key}.teacher")
    members = teacher["members"]
    for name, member in members.items():
        members[name] = below(member, node.members[name], f"{key}.members.{name}")
    loss = raw(node.get("loss"))
    teacher["alpha_weighted"] = alpha_weighted(loss)
    if any(interpolations(loss)):
        recipe = teacher_recipe(run_config({**values, "teacher": {**teacher, "loss": {}}}))
        loss = _in_scope(loss, recipe, f"{key}.")
    teacher["loss"] = loss
    return teacher


def _complete(skeleton: type, node: Any, key: str) -> dict[str, Any]:
    """A nested node with the defaults of the keys it leaves out.

    Raises UserError for an unknown key, or a value of another type.
    """
    if not isinstance(node, dict):
        raise UserError(f"{key} must be a mapping of options, got {shown(node)}")
    try:
        whole = OmegaConf.merge(OmegaConf.structured(skeleton), node)
        assert isinstance(whole, DictConfig)
        return _plain(whole)
    except OmegaConfBaseException as error:
        raise UserError(nested_fault(error, skeleton, node, key)) from error
