"""What a student learns before its run: stages, as plain configs; pure functions of values.

A stage is a run of its own: the same network, data and seed, other loss terms and epochs. Its
weights are what the next one begins with. Runs that say the same stage share it.
"""

from typing import Any

# What a stage says for itself where it says anything; all else is the run's.
OWN = ("optimizer", "schedule")


def stage_before(values: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The name and the config of the stage whose weights a run begins with; None if it has none.

    That run has the earlier stages for its own, and so has another one before it.
    """
    if not values["stages"]:
        return None
    *earlier, name = values["stages"]
    stage = values["stages"][name]
    return name, {
        **values,
        "stages": {key: values["stages"][key] for key in earlier},
        **{key: stage[key] for key in ("loss", "hard_weight", "alpha_weighted")},
        **{key: stage[key] or values[key] for key in OWN},
        "trainer": {**values["trainer"], "epochs": stage["epochs"]},
    }
