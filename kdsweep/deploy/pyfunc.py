"""How MLflow loads a model that kdsweep has logged: the `loader_module` in its MLmodel file.

`mlflow.pyfunc.load_model(...)` and `mlflow models serve` call `_load_pyfunc`, and then `predict` of
what it returns.
"""

import base64
import binascii
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.images import MODES
from kdsweep.tracking.mlflow.model_files import CLASS, IMAGE, PROBABILITIES, PROBABILITY

# A process that serves a model has imported one of these modules.
SERVERS = ("mlflow.pyfunc.scoring_server.app", "mlflow.pyfunc.scoring_server.stdin_server")


class ServedClassifier:
    """A classifier as MLflow calls it.

    ``paths``: whether a text may be the path of an image. Those who send requests to a server must
    not choose which of its files are read.
    """

    def __init__(self, classifier: Classifier, *, paths: bool) -> None:
        self.classifier, self._paths = classifier, paths

    def predict(self, model_input: Any) -> pd.DataFrame:
        """The class of each image, its probability, and those of all classes in their order.

        Args:
            model_input: images: one, or a list of them, or a batch; also as the column `image` of a
                table or a mapping, or as a list of mappings. An image is the content of a file as
                base64 or bytes, a Pillow image, or numbers as a nested list, an array or a tensor,
                (H, W), (H, W, channels) or (channels, H, W); or a path, except in a server.

        Raises MlflowException for an input that is not an image; a server responds with status
        400.
        """
        from mlflow.exceptions import MlflowException

        try:
            images = [self._image(value) for value in images_of(model_input)]
            predictions = self.classifier.predict(images, top=1)
        except (ValueError, TypeError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(
            {
                CLASS: [one.label for one in predictions],
                PROBABILITY: [one.probability for one in predictions],
                PROBABILITIES: predictions.probabilities.tolist(),
            }
        )

    def _image(self, value: Any) -> Any:
        """The image as `Classifier.predict` takes it."""
        if isinstance(value, str):
            if self._paths and os.path.isfile(value):
                return value
            content = decoded(value)
            if content is None and not self._paths:
                raise ValueError("an image must be base64 or numbers, got another text")
            return value if content is None else content
        if isinstance(value, list | tuple | np.ndarray):
            return channels_last(np.asarray(value))
        return value


def _load_pyfunc(path: str) -> ServedClassifier:
    is_server = any(name in sys.modules for name in SERVERS)
    return ServedClassifier(read_bundle(Path(path)), paths=not is_server)


def images_of(model_input: Any) -> list[Any]:
    """The single images of what a model is given. Raises ValueError for a table without any."""
    if isinstance(model_input, Mapping | pd.DataFrame):
        return images_of(_column(model_input))
    if isinstance(model_input, pd.Series | list | tuple):
        return [_column(row) if isinstance(row, Mapping) else row for row in model_input]
    is_column = isinstance(model_input, np.ndarray) and model_input.dtype.kind in "OUS"
    if is_column or getattr(model_input, "ndim", 0) == 4:
        return images_of(list(model_input))
    return [model_input]


def _column(table: "Mapping[str, Any] | pd.DataFrame") -> Any:
    """The column `image`, or the only one."""
    names = list(table.keys())
    if IMAGE not in names and len(names) != 1:
        raise ValueError(f"the input must have a column {IMAGE}, got {', '.join(map(str, names))}")
    return table[IMAGE if IMAGE in names else names[0]]


def decoded(text: str) -> bytes | None:
    """The bytes of a base64 text, or of a data: URL; None if it is neither."""
    head, comma, rest = text.partition(",")
    encoded = rest if comma and head.startswith("data:") and head.endswith(";base64") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """The array (H, W, channels) of one (channels, H, W); any other as it is."""
    if array.ndim == 3 and array.shape[2] not in MODES and array.shape[0] in MODES:
        return np.moveaxis(array, 0, 2)
    return array
