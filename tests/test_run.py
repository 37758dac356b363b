"""The training of a cohort, whose runs are many: an epoch costs no more than each of them once."""

from collections.abc import Sequence
from typing import NoReturn

import pytest

from kdsweep.run import Session, _stop_in_time
from kdsweep.tracking.console import Progress


class Cohort(Sequence[NoReturn]):
    """Runs that nobody may look at."""

    def __len__(self) -> int:
        raise AssertionError("somebody counts them")

    def __getitem__(self, place: object) -> NoReturn:
        raise AssertionError("somebody looks at one")


@pytest.mark.parametrize("stop_in_time", [None, lambda: None], ids=["no timeout", "timeout"])
def test_only_a_cohort_whose_time_is_over_is_looked_at(stop_in_time: object) -> None:
    session = Session({"uri": None}, Progress())
    if stop_in_time is not None:
        session.stop_in_time = stop_in_time  # type: ignore[assignment]
    _stop_in_time(3, Cohort(), session)
