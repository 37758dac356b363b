"""What a test of the study is handed by tests/search/conftest.py."""

from collections.abc import Callable

from kdsweep.search.optuna_internals import SearchStudy

Start = Callable[..., SearchStudy]
