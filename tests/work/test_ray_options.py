"""The options of `hydra/launcher=lockstep_ray`, and what bad ones are refused with."""

from typing import Any

import pytest

from kdsweep.errors import UserError
from kdsweep.work.ray_options import RayOptions, ray_options

NODE: dict[str, Any] = {
    **{"address": None, "cpus": None, "gpus": None, "memory_gib": None, "resources": {}},
}


def test_values_are_taken_over() -> None:
    assert ray_options(NODE) == RayOptions()
    given = {"address": "auto", "cpus": 2, "gpus": 0.5, "memory_gib": 4, "resources": {"a100": 1}}
    assert ray_options(NODE | given) == RayOptions(**given)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"address": ""},
            "hydra.launcher.address must be null, auto or an address like 10.0.0.1:6379, got ''",
        ),
        ({"cpus": 0.5}, "hydra.launcher.cpus must be null or an integer of at least 1, got 0.5"),
        (
            {"gpus": 1.5},
            "hydra.launcher.gpus must be null, a part of a GPU from 0 to 1, or an integer, got 1.5",
        ),
        ({"memory_gib": 0}, "hydra.launcher.memory_gib must be null or a number > 0, got 0"),
        (
            {"resources": {"a100": "one"}},
            "hydra.launcher.resources must be names with numbers > 0, got {a100: one}",
        ),
    ],
)
def test_bad_values_are_refused_in_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        ray_options(NODE | values)
    assert str(refused.value) == message


def test_all_bad_values_are_reported_together() -> None:
    with pytest.raises(UserError) as refused:
        ray_options(NODE | {"cpus": 0, "gpus": -1, "memory_gib": "much"})
    assert len(str(refused.value).splitlines()) == 3
