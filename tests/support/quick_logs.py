"""The loggers that do not propagate, found once for each test.

pytest looks for them among all loggers six times for each test, and there are a thousand.
"""

import logging
from functools import lru_cache
from typing import Any

import pytest
from _pytest.logging import catching_logs


def make_handlers_quick(patch: pytest.MonkeyPatch) -> None:
    """For pytest's handlers, which are added to the root and to what does not propagate to it."""
    patch.setattr(catching_logs, "__enter__", _enter)


def forget_loggers() -> None:
    """Before a test: the one before it may have changed some."""
    _isolated.cache_clear()


def _enter(self: Any) -> Any:
    """What `catching_logs.__enter__` does."""
    root = logging.getLogger()
    if self.level is not None:
        self.handler.setLevel(self.level)
    for logger in (root, *_isolated(len(root.manager.loggerDict))):
        logger.addHandler(self.handler)
        self.attached_loggers.append(logger)
    if self.level is not None:
        self.orig_level = root.level
        root.setLevel(min(self.orig_level, self.level))
    return self.handler


@lru_cache(maxsize=1)
def _isolated(count: int) -> list[logging.Logger]:
    """Those of ``count`` loggers: an import makes more."""
    found = logging.root.manager.loggerDict.values()
    return [one for one in found if isinstance(one, logging.Logger) and not one.propagate]
