"""A temperature that is given and that no term of the sweep has."""

from collections.abc import Sequence

from kdsweep.config.overrides import override_values
from kdsweep.errors import UserError
from kdsweep.runs.spec import RunSpec


def refuse_idle_temperature(specs: Sequence[RunSpec], swept: Sequence[str]) -> None:
    """Raise UserError if T is given, and every temperature of the sweep is a term's own.

    With `loss=nkd T=4` the temperature would be that of `loss.nkd.T`, 1. A sweep over losses may
    have T for another one, also where only a batch of its runs is at hand.
    """
    if "loss" in swept:
        return
    given = [override_values(spec.overrides).get("T") for spec in specs]
    values = dict.fromkeys(value for value in given if value is not None)
    if not values or any(spec.cell.T is not None for spec in specs):
        return
    own = [
        f"loss.{term}.{name}"
        for spec in specs
        for term, options in spec.config.loss.items()
        for name in ("T", "tau")
        if name in options
    ]
    if own:
        raise UserError(
            f"T must be given as {' and '.join(dict.fromkeys(own))}, which this loss has in its"
            f" place, got T={','.join(values)}"
        )
