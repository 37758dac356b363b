"""A traced graph as an ONNX model that describes itself."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from kdsweep.common.notices import warn_once
from kdsweep.common.text import error_reason
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.export.graph import BATCH, refusing, silenced
from kdsweep.deploy.packages import import_deploy, require_packages
from kdsweep.deploy.runtimes import IMAGES

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
OPSETS = range(18, 24)  # that torch's exporter writes
LOGITS, PROBABILITIES = "logits", "probabilities"


def to_onnx(program: ExportedProgram, output: str, opset: int = OPSET) -> "ModelProto":
    """The graph as ONNX: input `images`, one output, a batch of any size, weights inside.

    Raises UserError for an operator that has no translation.
    """
    require_packages()
    with silenced(), refusing("torch.onnx"):
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=[IMAGES],
            output_names=[output],
            external_data=False,
            verbose=False,
        )
        assert exported is not None
        model: ModelProto = exported.model_proto
    _name_batch(model)
    _drop_traces(model)
    return model


def _drop_traces(model: "ModelProto") -> None:
    """Remove where in whose files each node comes from: the exporter's notes, with paths."""
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")


def _name_batch(model: "ModelProto") -> None:
    """Name the first dimension of the input `batch`, wherever it is used."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    pattern = re.compile(rf"\b{re.escape(symbol)}\b")
    for info in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = pattern.sub(BATCH, dim.dim_param)


def describe(model: "ModelProto", classifier: Classifier, *, inside: bool) -> None:
    """Put classes, preprocessing and the run into the model's `metadata_props`."""
    helper = import_deploy("onnx.helper")
    helper.set_model_props(model, metadata(classifier, inside=inside))
    model.producer_name = "kdsweep"


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file; empty if it is missing or damaged."""
    onnx = import_deploy("onnx")
    try:
        return {item.key: item.value for item in onnx.load(str(path)).metadata_props}
    except FileNotFoundError:
        return {}
    except Exception as error:  # of protobuf
        warn_once(f"{path} is passed over: {error_reason(error)}", path.absolute())
        return {}


def is_of(path: Path, classifier: Classifier) -> bool:
    """Whether an ONNX file describes itself as this network, with normalised images as input."""
    expected, known = metadata(classifier, inside=False), read_metadata(path)
    same = ("weights_sha256", "images", "preprocessing", "classes")
    return "weights_sha256" in expected and all(known.get(k) == expected[k] for k in same)


def metadata(classifier: Classifier, *, inside: bool) -> dict[str, str]:
    """What a file of other formats than ours holds about a classifier, as texts.

    `classes`, `mean`, `std` and `preprocessing` are JSON.
    """
    preprocessing = classifier.preprocessing
    channels, height, width = preprocessing.in_shape
    images = f"float32 (batch, {channels}, {height}, {width}), normalised with mean and std"
    if inside:
        channels, height, width = preprocessing.pixel_shape
        images = f"uint8 (batch, {height}, {width}, {channels}), not normalised"
    source: Mapping[str, Any] = classifier.source
    about = {
        "run": source.get("name"),
        "run_id": source.get("run_id"),
        "fingerprint": source.get("fingerprint"),
        "weights_sha256": classifier.manifest.weights_sha256,
    }
    return {
        "classes": json.dumps(classifier.classes, ensure_ascii=False),
        "images": images,
        "mean": json.dumps(list(preprocessing.mean)),
        "std": json.dumps(list(preprocessing.std)),
        "preprocessing": json.dumps(preprocessing.to_json()),
        **{key: str(value) for key, value in about.items() if value is not None},
    }
