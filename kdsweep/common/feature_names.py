"""Names of features: a module path, and at which place and in which mode a tensor is read.

`stage2` is the output of a module, `stage2:channels_first` that output (B, H, W, channels) as a map
(B, channels, H, W), `stage2:before_relu` the input of the last ReLU inside it, `pool:input` its own
input, and `pool:class_maps` that input, a map, at each position times the weights of the network's
classifier. With `:train` at the end, the BatchNorms of the network
normalise by the batch, as in train mode.
"""

from typing import NamedTuple

BEFORE_RELU = "before_relu"
INPUT = "input"
CLASS_MAPS = "class_maps"
CHANNELS_FIRST = "channels_first"
PLACES = (BEFORE_RELU, INPUT, CLASS_MAPS, CHANNELS_FIRST)
TRAIN = "train"


class FeatureName(NamedTuple):
    """The parts of a name."""

    path: str
    place: str | None  # one of PLACES; None: the module's output
    train: bool


def parse_feature(name: str) -> FeatureName:
    """Raises ValueError for a name with other parts; there may be no such module."""
    path, *marks = name.split(":")
    train = marks[-1:] == [TRAIN]
    given = marks[:-1] if train else marks
    place = given[0] if given else None
    if len(given) > 1 or place not in (*PLACES, None):
        places = ", ".join(f":{known}" for known in PLACES)
        raise ValueError(
            f"feature {name!r} must be a module path, then one of {places} or none of them, then"
            f" :{TRAIN} or not"
        )
    return FeatureName(path, place, train)


def in_train_mode(name: str) -> str:
    """The same feature in train mode."""
    return f"{without_mode(name)}:{TRAIN}"


def without_mode(name: str) -> str:
    """The same feature in the mode that the network is in."""
    return name.removesuffix(f":{TRAIN}")
