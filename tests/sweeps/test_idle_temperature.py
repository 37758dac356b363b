"""Keys that would have no effect where they are given."""

import pytest
from commands import Specs

from kdsweep.config.overrides import swept_keys
from kdsweep.errors import UserError
from kdsweep.sweeps.idle_temperature import refuse_idle_temperature


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (
            [["loss=nkd", "T=4"]],
            "T must be given as loss.nkd.T, which this loss has in its place, got T=4",
        ),
        ([["loss=nkd", "T=1"], ["loss=nkd", "T=4"]], "T must be given as .* got T=1,4"),
        ([["loss=[mse,nkd]", "T=4"]], "T must be given as loss.nkd.T, "),
        ([["loss=dist", "loss.dist.tau=1", "T=4"]], "T must be given as loss.dist.tau, "),
    ],
)
def test_a_root_temperature_in_place_of_a_terms_own_is_refused(
    specs: Specs, jobs: list[list[str]], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        refuse_idle_temperature(specs(*jobs), swept_keys(jobs))


@pytest.mark.parametrize(
    "jobs",
    [
        [["loss=nkd"]],
        [["loss=nkd", "loss.nkd.T=4"]],
        [["loss=nkd", "loss.nkd.T=${T}", "T=4"]],
        [["loss=mse", "T=4"], ["loss=nkd", "T=4"]],
        [["loss=ce", "T=4"]],
    ],
)
def test_it_is_accepted_where_a_term_reads_it_or_another_loss_may(
    specs: Specs, jobs: list[list[str]]
) -> None:
    refuse_idle_temperature(specs(*jobs), swept_keys(jobs))
