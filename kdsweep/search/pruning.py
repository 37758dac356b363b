"""The pruner that a search's config names."""

import warnings
from typing import Any

from hydra.utils import instantiate
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner

from kdsweep.common.text import first_line
from kdsweep.errors import UserError

WHITELIST = ("optuna.pruners.*",)


def make_pruner(options: dict[str, Any] | None) -> BasePruner:
    """The configured pruner; without one every trial is trained to its end.

    Raises:
        UserError: if its options make none.
    """
    if not options:
        return NopPruner()  # to a study, no pruner at all means Optuna's MedianPruner
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # wilcoxon: chosen knowingly
            pruner = instantiate(options, _convert_="all", _execution_whitelist_=WHITELIST)
    except Exception as error:  # whatever its constructor says
        raise UserError(
            f"search.pruner must be a pruner of Optuna's with options that it takes,"
            f" got {options}: {first_line(error)}"
        ) from error
    if not isinstance(pruner, BasePruner):
        raise UserError(f"search.pruner must be a pruner of Optuna's, got {options}")
    return pruner
