"""What Hydra computes anew for each command or object, and what is the same for all, once."""

import copy
import pickle
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hydra._internal import execution_policy, logging_config
from hydra._internal.instantiate import _instantiate2
from hydra.core.override_parser import overrides_parser
from omegaconf import DictConfig


def make_hydra_quick(patch: pytest.MonkeyPatch) -> None:
    """Check the lists of forbidden targets once, copy configs in less time, list functions once."""
    validated = cache(execution_policy._validated_execution_policy)
    for module in (_instantiate2, logging_config):
        patch.setattr(module, "_validated_execution_policy", validated)
    patch.setattr(overrides_parser, "create_functions", cache(overrides_parser.create_functions))
    patch.setattr(_instantiate2, "copy", SimpleNamespace(**vars(copy) | {"deepcopy": _copied}))


def _copied(value: Any, *memo: Any) -> Any:
    """As `copy.deepcopy`, which copies each node of a config in Python."""
    if isinstance(value, DictConfig) and value._get_parent() is None and not memo:
        try:
            return pickle.loads(pickle.dumps(value))
        except Exception:  # it holds what cannot be pickled
            pass
    return copy.deepcopy(value, *memo)
