"""The config of one run with its interpolations resolved, as typed values."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from kdsweep.config.schema import StageConfig, StudentConfig, TeacherConfig, TrainConfig

Node = TypeVar("Node")

type_hints = cache(get_type_hints)  # evaluating them takes longer than all the rest

MEMBER_NAME = "beside"  # the key of `member_name` in plain values, which are hashed
# What of a network is trained, `trainer.train`: weights may be used just as they are given.
ALL, HEAD, UNTRAINED = "all", "head", "none"
DERIVED = ("alpha_weighted", MEMBER_NAME)  # keys that follow from the config before it is resolved


@dataclass
class ResolvedStage(StageConfig):
    """``alpha_weighted``: whether the weight of some loss term follows alpha."""

    alpha_weighted: bool = False


@dataclass
class ResolvedPeer(StudentConfig):
    """``loss``: the terms of the run, resolved for this network."""

    loss: dict[str, Any] = field(default_factory=dict)


@dataclass
class ResolvedTeacher(TeacherConfig):
    """``alpha_weighted``: whether the weight of some term of its loss follows its alpha."""

    teacher: "ResolvedTeacher | None" = None  # type: ignore[assignment]
    members: dict[str, "ResolvedTeacher"] = field(default_factory=dict)
    peers: dict[str, ResolvedPeer] = field(default_factory=dict)
    alpha_weighted: bool = False

    @property
    def given_by(self) -> str | None:
        """The key of the weights that it has without training; None if it is trained."""
        if self.checkpoint is not None:
            return "checkpoint"
        return "start" if self.trainer.train == UNTRAINED else None

    @property
    def given(self) -> str | None:
        """These weights, as they are named."""
        return {None: None, "checkpoint": self.checkpoint, "start": self.start}[self.given_by]


@dataclass
class RunConfig(TrainConfig):
    """The config of one run. It is never changed; `dataclasses.replace` makes another one.

    ``alpha_weighted``: whether the weight of some loss term follows alpha; the hard term then has
    the weight 1 - alpha. ``member_name``: of a peer or an online teacher, which is trained together
    with the run's own student; None for that student. ``extra_keys``: what `+key=value` has
    added, nested as in the config; values may interpolate it, and it counts in fingerprints.
    """

    teacher: ResolvedTeacher = field(default_factory=ResolvedTeacher)
    stages: dict[str, ResolvedStage] = field(default_factory=dict)
    alpha_weighted: bool = False
    member_name: str | None = None
    extra_keys: dict[str, Any] = field(default_factory=dict)

    @property
    def loss_name(self) -> str:
        """The terms joined by `+`: `fitnet+kl`; `ce` without a term in addition to the hard one."""
        return "+".join(sorted(self.loss)) or "ce"


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """The typed config of plain values."""
    extra = _extra_keys(RunConfig, {k: v for k, v in values.items() if k not in DERIVED})
    member_name = values.get(MEMBER_NAME)
    return replace(from_values(RunConfig, values), member_name=member_name, extra_keys=extra)


def _extra_keys(schema: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of plain values that the schema lacks, nested as they are."""
    kinds = type_hints(schema)
    extra = {key: value for key, value in values.items() if key not in kinds}
    for key, value in values.items():
        is_node = is_dataclass(kinds.get(key)) and isinstance(value, Mapping)
        if is_node and (below := _extra_keys(kinds[key], value)):
            extra[key] = below
    return extra


def from_values(schema: type[Node], values: Mapping[str, Any]) -> Node:
    """An instance of a dataclass of the schema from plain values, nested ones included."""
    assert is_dataclass(schema)
    kinds = type_hints(schema)
    return schema(**{key: _typed(kinds[key], values[key]) for key in kinds if key in values})


def _typed(kind: Any, value: Any) -> Any:
    """A mapping as an instance of its key's type: dataclass X, `X | None` or `dict[str, X]`."""
    schema: Any = next(filter(is_dataclass, [kind, *get_args(kind)]), None)
    if schema is None or not isinstance(value, Mapping):
        return value
    if get_origin(kind) is dict:
        return {name: from_values(schema, node) for name, node in value.items()}
    return from_values(schema, value)


def to_values(config: Any) -> dict[str, Any]:
    """A config, or a node of one, as plain values: what is hashed and written to files."""
    values: dict[str, Any] = _plain(config)
    if isinstance(config, RunConfig):
        values[MEMBER_NAME] = values.pop("member_name")
        return _merged(values, values.pop("extra_keys"))
    return values


def _plain(node: Any) -> Any:
    """As `dataclasses.asdict`, which also copies every number and text, in four times the time."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    if is_dataclass(node):
        return {each.name: _plain(getattr(node, each.name)) for each in fields(node)}
    return node


def _merged(values: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with extra keys put back where they were."""
    for key, value in extra.items():
        below = values.get(key)
        values[key] = _merged(below, value) if isinstance(below, dict) else value
    return values


def public_values(config: RunConfig) -> dict[str, Any]:
    """The plain values without those that are derived: what `config.yaml` holds."""

    def without_derived(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        return {k: without_derived(v) for k, v in node.items() if k not in DERIVED}

    values: dict[str, Any] = without_derived(to_values(config))
    return values


def derived_values(config: RunConfig) -> dict[str, Any]:
    """The derived values that are set, nested as in the config: what `public_values` lacks."""

    def derived(node: Any) -> dict[str, Any]:
        if not isinstance(node, dict):
            return {}
        own = {key: value for key, value in node.items() if key in DERIVED and value}
        return own | {key: nested for key, value in node.items() if (nested := derived(value))}

    return derived(to_values(config))


def from_public(values: Mapping[str, Any], derived: Mapping[str, Any]) -> RunConfig:
    """The config with these `public_values` and `derived_values`."""
    return run_config(_merged(deepcopy(dict(values)), derived))
