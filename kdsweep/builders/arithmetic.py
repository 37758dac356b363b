"""The precision and the memory format of a run's networks, decided before anything is trained."""

import json
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from kdsweep.builders.models import build_model
from kdsweep.builders.own_source import with_sources
from kdsweep.builders.targets import import_targets
from kdsweep.common.notices import warn_once
from kdsweep.common.text import error_reason
from kdsweep.config.run_config import ResolvedTeacher, RunConfig
from kdsweep.config.schema import TrainerConfig
from kdsweep.errors import UserError
from kdsweep.training.arithmetic import (
    AUTO,
    BF16,
    CHANNELS_LAST,
    NetworkKind,
    bf16_warning,
    choose_format,
    choose_precision,
)

# Images for a network whose data has not been read yet: the first that it takes.
SHAPES = ((3, 224, 224), (3, 32, 32), (1, 28, 28), (1, 8, 8))
# Options that have a network start from a download, and what leaves them out.
DOWNLOADS = {"weights": None, "pretrained": False}


def resolve_arithmetic(config: RunConfig, device: str, prefix: str = "") -> RunConfig:
    """The config with what `auto` stands for in the precision and the format of its networks.

    The run's own network and its peers have one of each; a frozen teacher, or each member of an
    ensemble, has its own. Raises UserError for channels_last with a network that fails in it. Warns
    of bf16 on a device without arithmetic for it, once a process; ``prefix`` stands before the keys
    that warnings name, for the run of a teacher.
    """
    trainer, kind = resolve_trainer(config, device), _trained_kind(config)
    key = f"{prefix}trainer.precision"
    if config.trainer.precision == BF16:
        _warn_of_bf16(key, device, kind, trainer.memory_format)
    own = Choice(config.trainer.precision, key, AUTO)
    teacher = _resolve_teacher(config.teacher, f"{prefix}teacher", own, device)
    return replace(config, trainer=trainer, teacher=teacher)


def resolve_trainer(config: RunConfig, device: str) -> TrainerConfig:
    """The trainer with what `auto` stands for, of a run's own network and its peers."""
    trainer, kind = config.trainer, _trained_kind(config)
    precision = choose_precision(trainer.precision, device, kind, is_trained=True)
    memory_format = choose_format(trainer.memory_format, device, precision, kind)
    return replace(trainer, precision=precision, memory_format=memory_format)


def _trained_kind(config: RunConfig) -> NetworkKind:
    """The kind of the network of a run and its peers. Raises UserError."""
    models = {"student": config.student.model}
    models |= {f"teacher.peers.{name}": one.model for name, one in config.teacher.peers.items()}
    kinds = {key: network_kind(model) for key, model in models.items()}
    for key, kind in kinds.items():
        _refuse_format("trainer.memory_format", config.trainer.memory_format, key, kind)
    return NetworkKind.of_all(kinds.values())


class Choice(NamedTuple):
    """A precision, the key that sets it, and a memory format."""

    precision: str
    key: str
    memory_format: str


def _resolve_teacher(
    teacher: ResolvedTeacher, key: str, default: Choice, device: str
) -> ResolvedTeacher:
    """A frozen teacher; ``default`` is what it has of its own if unset."""
    own = default
    if teacher.precision:
        own = own._replace(precision=teacher.precision, key=f"{key}.precision")
    if teacher.memory_format != AUTO:
        own = own._replace(memory_format=teacher.memory_format)
    if teacher.members:
        members = {
            name: _resolve_teacher(one, f"{key}.members.{name}", own, device)
            for name, one in teacher.members.items()
        }
        return replace(teacher, members=members)
    if teacher.model is None or teacher.online:
        return teacher
    kind = network_kind(teacher.model)
    _refuse_format(f"{key}.memory_format", own.memory_format, key, kind)
    precision = choose_precision(own.precision, device, kind, is_trained=False)
    memory_format = choose_format(own.memory_format, device, precision, kind)
    if own.precision == BF16:
        _warn_of_bf16(own.key, device, kind, memory_format)
    return replace(teacher, precision=precision, memory_format=memory_format)


def _warn_of_bf16(option: str, device: str, kind: NetworkKind, memory_format: str) -> None:
    if (warning := bf16_warning(option, device, kind, memory_format)) is not None:
        warn_once(warning)


def _refuse_format(option: str, memory_format: str, key: str, kind: NetworkKind) -> None:
    if memory_format == CHANNELS_LAST and kind.fault is not None:
        raise UserError(
            f"{option} must be auto or contiguous with a {key}.model whose forward pass fails on"
            f" images in channels_last ({kind.fault}), got channels_last"
        )


def network_kind(node: dict[str, Any]) -> NetworkKind:
    """The kind of the network that a config node describes, without its weights.

    It is built and run on torch's device without memory. One that cannot be, because it computes
    with its weights, or that is wrong, which is reported where it is built, has no convolutions.
    """
    text, with_source = (
        json.dumps(one, sort_keys=True, default=str) for one in (node, with_sources(node))
    )
    return _network_kind(text, with_source)


@cache
def _network_kind(text: str, with_source: str) -> NetworkKind:
    node = json.loads(text)
    import_targets(node)
    node |= {option: value for option, value in DOWNLOADS.items() if node.get(option)}
    for shape in SHAPES:
        try:
            with torch.random.fork_rng(), torch.device("meta"), torch.no_grad():
                model = build_model(node, "model", shape, 10)
                model.eval()(torch.zeros(2, *shape))
        except Exception:  # a network of the user's may raise anything
            continue
        return NetworkKind.of(model, _fault_in_channels_last(model, shape))
    return NetworkKind()


def _fault_in_channels_last(model: nn.Module, shape: tuple[int, int, int]) -> str | None:
    """Why the forward pass of a network without memory fails on images in channels_last."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # Without memory the output of a convolution is contiguous whatever its input is.
            module.register_forward_hook(_in_channels_last)
    try:
        with torch.no_grad():
            model(torch.zeros(2, *shape, device="meta").to(memory_format=torch.channels_last))
    except Exception as error:
        return error_reason(error)
    return None


def _in_channels_last(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return output.to(memory_format=torch.channels_last)
