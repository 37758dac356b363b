"""Keys of trainers and networks that were added later.

Where they have no effect they are left out of all that is hashed, so that earlier runs and searches
are found.
"""

from collections.abc import Mapping
from typing import Any

from kdsweep.config.schema import DROP_PATH, TrainerConfig

# Without effect at their defaults.
LATER = ("train", "layer_decay", "decay_norms", "accumulate", "ema", "ema_warmup", "compile")


def without_added(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trainer for what is hashed.

    With one device neither `devices` nor `sync_batchnorm` has an effect.
    """
    default = TrainerConfig()
    left_out = {key for key in LATER if trainer.get(key) == getattr(default, key)}
    if trainer.get("devices", 1) == 1:
        left_out |= {"devices", "sync_batchnorm"}
    elif not trainer.get("sync_batchnorm"):
        left_out.add("sync_batchnorm")
    return {key: value for key, value in trainer.items() if key not in left_out}


def without_added_below(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """A config as plain values, with every trainer in it as `without_added` has it.

    A network without weights to start from has neither `start` nor `start_match`, one whose
    stochastic depth is not set no `drop_path`.
    """
    idle = {"start", "start_match"} if values.get("start", "") is None else set()
    if values.get(DROP_PATH, "") is None:
        idle.add(DROP_PATH)

    def below(key: Any, child: Any) -> Any:
        if not isinstance(child, Mapping):
            return child
        return without_added(child) if key == "trainer" else without_added_below(child)

    return {key: below(key, child) for key, child in values.items() if key not in idle}
