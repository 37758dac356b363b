"""What a folder of Hugging Face's transformers describes, read without transformers.

`save_pretrained` writes a network's config and its preprocessing as JSON: reading it runs nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
IN_PARTS = "model.safetensors.index.json"
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
SAVED = "a folder that save_pretrained has written"
# Of a config: what no layer depends on, such as the names of classes and how it was saved; and
# what may name code to be downloaded and run, such as an implementation of attention.
NOT_OF_THE_NETWORK = (
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task"),
    *("_name_or_path", "_commit_hash", "transformers_version", "torch_dtype", "dtype"),
    *("auto_map", "task_specific_params", "output_attentions", "output_hidden_states"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "quantization_config"),
    "_experts_implementation_internal",
    *("use_pretrained_backbone", "use_timm_backbone", "use_kernels"),
    *("return_dict", "use_return_dict", "torchscript", "chunk_size_feed_forward", "use_cache"),
)
# Networks that transformers has another library build, by a name that may be of the hub, or with
# options of that library, such as a file to be unpickled.
OF_OTHERS = ("timm_wrapper", "timm_backbone")
PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # its numbers, as `resample`
# Of a preprocessing, what no number of a run depends on: its own data set has these.
OF_A_VIEW = ("interpolation", "crop_pct")
UNCROPPED = 384  # the size from which on ConvNeXt's preprocessing does not crop
PLAIN_RESCALING = 1 / 255  # from 8-bit pixels to [0, 1]


def read_architecture(folder: str | Path) -> dict[str, Any]:
    """A network's config, without what no layer depends on. Raises ValueError for other folders."""
    path = Path(folder)
    if not (path / CONFIG).is_file():
        what = f"has no {CONFIG}" if path.is_dir() else "does not exist"
        raise ValueError(f"path must be {SAVED}, got {folder}, which {what}")
    config = _read(path / CONFIG)
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"path must be {SAVED}, got {folder}, whose {CONFIG} names no model_type")
    architecture: dict[str, Any] = of_the_network(config)
    return architecture


def num_labels(folder: str | Path) -> int:
    """The number of classes of the head in a folder; the default of transformers if not given."""
    config = _read(Path(folder) / CONFIG)
    return int(config.get("num_labels") or len(config.get("id2label") or ()) or 2)


def class_names_in(folder: str | Path) -> tuple[str, ...] | None:
    """The names of the classes of the head in a folder, in the order of its logits.

    Of networks of transformers (`id2label`), and of timm's (`label_names`). None if they are not
    there, or are the numbers that transformers writes where nobody has given names.
    """
    try:
        config = _read(Path(folder) / CONFIG)
        named = config.get("id2label") or config.get("label_names") or {}
        numbered = dict(enumerate(named)) if isinstance(named, list) else dict(named)
        by_number = {int(number): name for number, name in numbered.items()}
    except (ValueError, TypeError):
        return None
    names = [by_number.get(number) for number in range(len(by_number))]
    are_names = all(isinstance(name, str) for name in names)
    are_numbers = names == [f"LABEL_{number}" for number in range(len(names))]
    return tuple(map(str, names)) if names and are_names and not are_numbers else None


def refuse_other_libraries(architecture: Any) -> None:
    """Raise ValueError for a config with a network that transformers does not build by itself."""
    if not isinstance(architecture, Mapping):
        return
    for key in ("model_type", "backbone"):
        name = architecture.get(key)
        if name in OF_OTHERS or (key == "backbone" and isinstance(name, str)):
            raise ValueError(
                f"architecture must be built by transformers alone, got {key} {name!r}, which is"
                " loaded by its name; student=timm and teacher=timm have the networks of timm"
            )
    for value in architecture.values():
        refuse_other_libraries(value)


def read_preprocessing(folder: str | Path) -> dict[str, Any] | None:
    """Mean and std that images are normalised by after [0, 1], and their view; None if not there.

    The size is [height, width]; `interpolation` and `crop_pct` are how images get it. Each is null
    where the folder does not have it. Raises ValueError for a file that is damaged, and for a
    preprocessing that is none of these.
    """
    path = next(filter(Path.is_file, (Path(folder) / name for name in PREPROCESSING)), None)
    if path is None:
        return None
    content = _read(path)
    try:
        return _preprocessing(content, path)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"path must be {SAVED}, got {folder}, whose {path.name} cannot be used ({error})"
        ) from error


def _preprocessing(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    given = content.get("image_processor", content)
    scale = given.get("rescale_factor", PLAIN_RESCALING) if given.get("do_rescale", True) else 1.0
    if scale <= 0 or given.get("rescale_offset"):
        raise ValueError(
            f"path must be {SAVED}, got {path.parent}, whose {path.name} shifts pixels"
        )
    of_pixels = scale / PLAIN_RESCALING  # what [0, 1] is multiplied by, up to rounding
    if not given.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    else:
        mean, std = _numbers(given, "image_mean", path), _numbers(given, "image_std", path)
    if min(std) <= 0:
        raise ValueError(
            f"path must be {SAVED}, got {path.parent}, whose {path.name} has image_std {std}"
        )
    if abs(of_pixels - 1) > 1e-3:
        mean, std = [m / of_pixels for m in mean], [s / of_pixels for s in std]
    return {"mean": mean, "std": std, "size": _size(given), **_view(given)}


def _numbers(given: Mapping[str, Any], key: str, path: Path) -> list[float]:
    numbers = given.get(key)
    if (
        not isinstance(numbers, list)
        or not numbers
        or not all(isinstance(each, int | float) for each in numbers)
    ):
        raise ValueError(f"path must be {SAVED}, got {path.parent}, whose {path.name} has no {key}")
    return [float(each) for each in numbers]


def _view(given: Mapping[str, Any]) -> dict[str, Any]:
    """How images are resized and cropped to the size; values that are not there are null."""
    if not given.get("do_resize", True):
        return dict.fromkeys(OF_A_VIEW)
    resample = given.get("resample")
    return {
        "interpolation": PILLOW.get(resample) if isinstance(resample, int) else None,
        "crop_pct": _crop_pct(given),
    }


def _crop_pct(given: Mapping[str, Any]) -> float | None:
    """The part of the shorter side that is left by the crop around the centre."""
    resized, cropped = _size({**given, "do_center_crop": False}), _size(given)
    if isinstance(own := given.get("crop_pct"), int | float) and resized is not None:
        return float(own) if min(resized) < UNCROPPED else 1.0
    return min(cropped) / min(resized) if cropped and resized and min(resized) > 0 else None


def _size(given: Mapping[str, Any]) -> list[int] | None:
    """Height and width of the images that reach the network: of the crop, else of the resizing."""
    cropped = given.get("crop_size") if given.get("do_center_crop") else None
    size = cropped or given.get("size")
    if isinstance(size, int):
        return [size, size]
    if not isinstance(size, Mapping):
        return None
    if "height" in size and "width" in size:
        return [int(size["height"]), int(size["width"])]
    shortest = size.get("shortest_edge")
    return None if shortest is None else [int(shortest), int(shortest)]


def of_the_network(value: Any) -> Any:
    """A config, or a value in one, without NOT_OF_THE_NETWORK."""
    if isinstance(value, Mapping):
        items = value.items()
        return {k: of_the_network(v) for k, v in items if k not in NOT_OF_THE_NETWORK}
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"path must be {SAVED}, got {path.parent}, whose {path.name} cannot be read ({error})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"path must be {SAVED}, got {path.parent}, whose {path.name} is no mapping"
        )
    return content
