"""The files of a model in MLflow's format: a `python_function` without pickle and without code.

`MLmodel` names a module of kdsweep that loads the folder (`kdsweep.deploy.pyfunc`), so nothing that
is downloaded with a model is executed.
"""

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LOADER = "kdsweep.deploy.pyfunc"
IMAGE = "image"  # the column of the images
# In the table that a model returns: `probabilities` are in the order of the classes.
CLASS, PROBABILITY, PROBABILITIES = "class", "probability", "probabilities"
PACKAGES = ("kdsweep", "mlflow", "numpy", "pandas", "pillow", "safetensors", "torch", "torchvision")
LIBRARIES = {"timm_model": "timm", "hf_model": "transformers"}  # by the module of a `_target_`
EXAMPLE, SERVED_EXAMPLE = "input_example.json", "serving_input_example.json"
YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # mlflow takes the one in Python
REQUIREMENTS, CONDA, PYTHON = "requirements.txt", "conda.yaml", "python_env.yaml"


def write_model_files(
    folder: Path,
    classifier: Mapping[str, Any],
    *,
    model_id: str,
    run_id: str,
    location: str,
) -> None:
    """Write what MLflow needs in addition to the weights and their `classifier.json`.

    Args:
        classifier: the content of `classifier.json`.
        location: the address of the model's files in MLflow.
    """
    from mlflow.models import Model

    model = Model(
        artifact_path=location,
        run_id=run_id,
        model_uuid=model_id,
        model_id=model_id,
        signature=signature(),
        saved_input_example_info={
            "artifact_path": EXAMPLE,
            "serving_input_path": SERVED_EXAMPLE,
            "type": "json_object",
        },
        metadata={
            "classes": list(classifier["classes"]),
            "preprocessing": dict(classifier["preprocessing"]),
            "weights_sha256": classifier.get("weights_sha256"),
        },
    )
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        python_version=platform.python_version(),
        env={"conda": CONDA, "virtualenv": PYTHON},
    )
    texts = {
        "MLmodel": yaml.dump(model.to_dict(), Dumper=YAML_DUMPER, default_flow_style=False),
        **environment(requirements(str(classifier["model"].get("_target_")))),
        **_examples(_shape(classifier["preprocessing"])),
    }
    for name, text in texts.items():  # not atomic: the model is not READY before all are written
        (folder / name).write_text(text, encoding="utf-8")


def signature() -> "ModelSignature":
    """Images in; class, its probability, and the probability of each class out.

    An image is the content of a file, as base64 in a request, or numbers; in Python also whatever
    `kdsweep.load(...).predict` takes. No type of MLflow's is all of that, and it would refuse what
    is of another one, so the model checks its input itself.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    outputs = Schema(
        [
            ColSpec(DataType.string, CLASS),
            ColSpec(DataType.double, PROBABILITY),
            ColSpec(Array(DataType.double), PROBABILITIES),
        ]
    )
    image_signature = ModelSignature(Schema([ColSpec(DataType.binary, IMAGE)]), outputs)
    image_signature._is_signature_from_type_hint = True  # = checked by the model, not by MLflow
    return image_signature


@cache
def requirements(target: str) -> tuple[str, ...]:
    """The installed versions of what a network of this `_target_` needs, as pip reads them."""
    names = (*PACKAGES, *(package for word, package in LIBRARIES.items() if word in target))
    pins = []
    for name in names:
        try:
            number = version(name)
        except PackageNotFoundError:
            continue
        pins.append(f"{name}=={number.partition('+')[0]}")  # 2.9.0+cpu is on no index
    return tuple(pins)


@cache
def environment(pinned: Sequence[str]) -> dict[str, str]:
    """The files, by their names, from which MLflow makes an environment of its own.

    They are in JSON, which is YAML as well.
    """
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(pinned)}],
    }
    plain = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": [f"-r {REQUIREMENTS}"],
    }
    return {
        REQUIREMENTS: "".join(f"{line}\n" for line in pinned),
        CONDA: json.dumps(conda, indent=2),
        PYTHON: json.dumps(plain, indent=2),
    }


def _shape(preprocessing: Mapping[str, Any]) -> tuple[int, int, int]:
    height, width = preprocessing["image_size"]
    return int(preprocessing["channels"]), int(height), int(width)


@cache
def _examples(shape: tuple[int, int, int]) -> dict[str, str]:
    """An image of the network's size, a grey gradient, as Python and as HTTP give it."""
    from PIL import Image

    channels, height, width = shape
    picture = Image.linear_gradient("L").resize((width, height))
    file = BytesIO()
    (picture if channels == 1 else picture.convert("RGB")).save(file, "PNG")
    rows = [{IMAGE: base64.b64encode(file.getvalue()).decode("ascii")}]
    return {EXAMPLE: json.dumps(rows), SERVED_EXAMPLE: json.dumps({"inputs": rows})}
