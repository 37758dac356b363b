"""`mlflow models serve` on a promoted model: a real process, real requests."""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from commands import Command
from numpy.typing import NDArray
from PIL import Image
from servers import serving

import kdsweep
from kdsweep.deploy.registry import promote
from kdsweep.report.sources.address import Address

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    # of mlflow.pyfunc, when it is imported, about its own classes
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]

REQUESTS = 200
CHAMPION = "models:/student@champion"


def as_file(pixels: NDArray[np.uint8], form: str) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def predict(address: str, payload: Any) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}/invocations",
        json.dumps(payload).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        found: list[dict[str, Any]] = json.load(response)["predictions"]
    return found


def payload(number: int, pixels: NDArray[np.uint8]) -> tuple[Any, Any]:
    """One of the ways of sending an image, and the image as Python would give it."""
    form = "JPEG" if number % 2 else "PNG"
    content = as_file(pixels, form)
    text = base64.b64encode(content).decode()
    requests = [
        {"inputs": [text]},
        {"inputs": [{"image": text}]},
        {"inputs": {"image": [text]}},
        {"inputs": [pixels.tolist()]},
        {"inputs": np.moveaxis(pixels, 2, 0)[None].tolist()},
    ]
    chosen = requests[number % len(requests)]
    return chosen, pixels if number % len(requests) > 2 else content


def test_a_real_server_has_the_predictions_of_kdsweep(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = command("T=1,4", tracking=True)
    assert outcome.code == 0, outcome.err
    promote("best", "student", "champion", Address())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    classifier = kdsweep.load(CHAMPION)
    channels, height, width = classifier.preprocessing.in_shape
    random = np.random.default_rng(0)
    shape = (height + 3, width + 5, 3)
    elsewhere = tmp_path / "elsewhere"  # without the runs, the data and the teachers
    elsewhere.mkdir()
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "-m", CHAMPION]
    # It starts uvicorn by name, as in an activated environment.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with serving([*serve, "--env-manager", "local"], elsewhere, "/health") as address:
        for number in range(REQUESTS):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            request, image = payload(number, pixels)
            (found,) = predict(address, request)
            expected = classifier.predict(image)
            assert found["class"] == expected.labels[0]
            assert found["probabilities"] == pytest.approx(expected.probabilities[0].tolist())
        many = [base64.b64encode(as_file(pixels, "PNG")).decode()] * 3
        assert len(predict(address, {"inputs": many})) == 3
        secret = tmp_path / "secret.png"
        Image.new("RGB", (8, 8)).save(secret)
        for bad in (str(secret), "AAAA", [1, 2]):
            with pytest.raises(urllib.error.HTTPError) as caught:
                predict(address, {"inputs": [bad]})
            assert caught.value.code == 400
            caught.value.close()
    assert channels in (1, 3)
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_mlflow_loads_it_in_python(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("T=1,4", tracking=True).code == 0
    promote("best", "student", "champion", Address())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    model = mlflow.pyfunc.load_model(CHAMPION)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    content, picture = as_file(pixels, "PNG"), Image.fromarray(pixels)
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    text = base64.b64encode(content).decode()
    expected = kdsweep.load("best").predict(picture)[0]
    table = pd.DataFrame({"image": [text]})
    for form in (picture, pixels, content, path, str(path), text, table, [picture]):
        (found,) = model.predict(form).to_dict("records")
        assert found["class"] == expected.label
        assert found["probability"] == pytest.approx(expected.probability)
    assert model.metadata.signature.inputs.input_names() == ["image"]
    names = ["class", "probability", "probabilities"]
    assert model.metadata.signature.outputs.input_names() == names
    assert len(model.predict(model.input_example)) == 1
