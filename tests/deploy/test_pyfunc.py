"""A logged model as MLflow calls it: images in whatever form they come."""

import base64
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from kdsweep.deploy.bundle import read_bundle
from kdsweep.deploy.pyfunc import SERVERS, ServedClassifier, _load_pyfunc


@pytest.fixture
def picture() -> Image.Image:
    """An image of the size of the network's, so that none is resized."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def model(bundle: Path) -> ServedClassifier:
    return _load_pyfunc(str(bundle))


def content(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def text(picture: Image.Image) -> str:
    return base64.b64encode(content(picture)).decode()


FORMS: dict[str, Callable[[Image.Image], Any]] = {
    "pillow": lambda p: p,
    "pillow list": lambda p: [p],
    "bytes": content,
    "base64": text,
    "base64 in lines": lambda p: base64.encodebytes(content(p)).decode(),
    "data url": lambda p: f"data:image/png;base64,{text(p)}",
    "array": np.asarray,
    "array of a batch": lambda p: np.asarray(p)[None],
    "array of channels first": lambda p: [np.moveaxis(np.asarray(p), 2, 0)],
    "array of texts": lambda p: np.array([text(p)]),
    "array of objects": lambda p: np.array([text(p)], dtype=object),
    "tensor": lambda p: torch.tensor(np.asarray(p)).permute(2, 0, 1)[None],
    "numbers": lambda p: [np.asarray(p).tolist()],
    "numbers in [0, 1]": lambda p: [(np.asarray(p) / 255).tolist()],
    "rows": lambda p: [{"image": text(p)}],
    "rows of numbers": lambda p: [{"image": np.asarray(p).tolist()}],
    "column": lambda p: {"image": [text(p)]},
    "column of one": lambda p: {"image": text(p)},
    "table": lambda p: pd.DataFrame({"image": [text(p)], "id": [7]}),
    "table of another column": lambda p: pd.DataFrame({"picture": [content(p)]}),
    "table of pictures": lambda p: pd.DataFrame({"image": [p]}),
    "series": lambda p: pd.Series([text(p)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_has_the_same_prediction(
    model: ServedClassifier, bundle: Path, picture: Image.Image, form: str
) -> None:
    expected = read_bundle(bundle).predict(picture)[0]
    found = model.predict(FORMS[form](picture))
    assert list(found.columns) == ["class", "probability", "probabilities"]
    assert found["class"].tolist() == [expected.label]
    assert found["probability"].tolist() == pytest.approx([expected.probability])
    assert sum(found["probabilities"][0]) == pytest.approx(1)
    assert max(found["probabilities"][0]) == pytest.approx(expected.probability)


def test_paths_are_read_except_in_a_server(
    bundle: Path, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a picture.png"
    picture.save(path)
    model = _load_pyfunc(str(bundle))
    for form in (path, str(path), [path, str(path)]):
        assert set(model.predict(form)["class"]) == set(model.predict(picture)["class"])
    monkeypatch.setitem(sys.modules, SERVERS[0], None)
    served = _load_pyfunc(str(bundle))
    assert served.predict(text(picture)).equals(model.predict(text(picture)))
    with pytest.raises(MlflowException, match="an image must be base64 or numbers, got another te"):
        served.predict([str(path)])


def test_a_path_that_could_be_base64_is_a_path(
    model: ServedClassifier, picture: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture.save("AAAA", "PNG")
    assert model.predict("AAAA").equals(model.predict(picture))
    assert model.predict([text(picture)]).equals(model.predict(picture))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("AAAA", "images must be readable"),
        ([[[1, 2], [3]]], "inhomogeneous"),
        ([[[300] * 8] * 6], "0 to 255 is allowed"),
        (pd.DataFrame({"a": [1], "b": [2]}), "must have a column image, got a, b"),
        ({}, "must have a column image"),
        (None, "an image must be a path"),
    ],
)
def test_what_is_no_image_is_the_callers_error(
    model: ServedClassifier, given: Any, message: str
) -> None:
    with pytest.raises(MlflowException, match=message) as caught:
        model.predict(given)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
