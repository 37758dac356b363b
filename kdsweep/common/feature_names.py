"""Names of features: a module path, and at which place and in which mode its output is read.

`stage2` is the output of a module, `stage2:before_relu` the input of the last ReLU inside it. With
`:train` at the end, the BatchNorms of the network normalise by the batch, as in train mode.
"""

from typing import NamedTuple

BEFORE_RELU = "before_relu"
TRAIN = "train"


class FeatureName(NamedTuple):
    """The parts of a name."""

    path: str
    before_relu: bool
    train: bool


def parse_feature(name: str) -> FeatureName:
    """Raises ValueError for a name with other parts; there may be no such module."""
    path, *marks = name.split(":")
    if marks not in ([], [BEFORE_RELU], [TRAIN], [BEFORE_RELU, TRAIN]):
        raise ValueError(
            f"feature {name!r} must be a module path, alone or with :{BEFORE_RELU}, :{TRAIN} or"
            f" :{BEFORE_RELU}:{TRAIN} at its end"
        )
    return FeatureName(path, BEFORE_RELU in marks, TRAIN in marks)


def in_train_mode(name: str) -> str:
    """The same feature in train mode."""
    return f"{without_mode(name)}:{TRAIN}"


def without_mode(name: str) -> str:
    """The same feature in the mode that the network is in."""
    return name.removesuffix(f":{TRAIN}")
