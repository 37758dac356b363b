"""The two ways a sweep says no: the user's request cannot be met, or a run went wrong."""

from hydra.errors import CompactHydraException


class UserError(CompactHydraException):
    """Something the user can put right, said in one sentence: key, value, what is allowed.

    Hydra prints a ``CompactHydraException`` without its traceback and exits with code 1;
    ``HYDRA_FULL_ERROR=1`` (which ``debug=true`` sets) shows the traceback.
    """


class RunFailed(CompactHydraException):
    """A run ended without a result, e.g. because its loss became infinite."""
