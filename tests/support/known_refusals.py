"""Networks and optimizers whose options have been checked before, and what was wrong with them.

Most runs of the tests have one of a few networks, and each is built for its check.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kdsweep.config.run_config import RunConfig

OWN = ("kdsweep.", "torch.")

Refuse = Callable[..., None]


def refuse_alike(patch: pytest.MonkeyPatch) -> None:
    """Have each network and each optimizer checked once, unless a check may read more of it."""
    from kdsweep.runs import value_checks

    for name, values in (
        ("refuse_model_options", lambda node, key: [node, key]),
        ("refuse_optimizer", _values_of_optimizer),
    ):
        patch.setattr(value_checks, name, _once(getattr(value_checks, name), values))


def _values_of_optimizer(config: RunConfig) -> list[Any]:
    return [config.optimizer, config.schedule, config.trainer.epochs]


def _once(refuse: Refuse, values_of: Callable[..., list[Any]]) -> Refuse:
    known: dict[str, Exception | None] = {}

    def refused(*arguments: Any) -> None:
        values = values_of(*arguments)
        if not all(map(_is_all, values)):
            refuse(*arguments)
            return
        key = json.dumps(values)
        if key not in known:
            try:
                refuse(*arguments)
            except Exception as error:
                known[key] = error
            else:
                known[key] = None
        if (error := known[key]) is not None:
            raise type(error)(*error.args)

    return refused


def _is_all(value: Any) -> bool:
    """Whether nothing is read of an argument but numbers, and classes of kdsweep or torch.

    A text may be the name of a file or of a network of a library.
    """
    if not isinstance(value, Mapping):
        return value is None or isinstance(value, (bool, int, float, str))
    options = (option for name, option in value.items() if name != "_target_")
    return str(value.get("_target_")).startswith(OWN) and all(map(_is_number, options))


def _is_number(option: Any) -> bool:
    if isinstance(option, list):
        return all(map(_is_number, option))
    return option is None or isinstance(option, (bool, int, float))
