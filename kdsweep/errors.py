"""The errors of a sweep: the user's request cannot be met, or a run has failed."""

from hydra.errors import CompactHydraException


class UserError(CompactHydraException):
    """Something the user can correct; the message names the key, the value and what is allowed.

    Hydra prints a ``CompactHydraException`` without its traceback and exits with code 1;
    ``HYDRA_FULL_ERROR=1`` (which ``debug=true`` sets) shows the traceback.
    """


class RunFailed(CompactHydraException):
    """A run ended without a result, e.g. because its loss became infinite."""
