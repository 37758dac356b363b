"""What is needed to load weights: the content of `classifier.json`, which is next to them.

{"format": 1, "model": {...}, "expects": null, "precision": "fp32", "classes": [...],
 "preprocessing": {...}, "weights_sha256": "...", "run": {...}, "teachers": [...]}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kdsweep.common.files import read_json, write_json_atomic
from kdsweep.common.validation import check_option, is_number, require, shown
from kdsweep.deploy.preprocessing import Preprocessing, check_numbers
from kdsweep.errors import UserError
from kdsweep.training.arithmetic import BF16, FP32

FORMAT = 1
CLASSIFIER = "classifier.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Manifest:
    """A network, and all that predictions need in addition to its weights.

    Attributes:
        model: the config node of the network, with `_target_`, `in_shape` and `num_classes`; it
            names no weights to download.
        classes: their names, in the order of the logits.
        preprocessing: of its images.
        precision: in which it was evaluated, `fp32` or `bf16` (autocast).
        expects: mean and std of the images that the network expects, if they are not the data
            set's; the network converts its input.
        transforms_input: whether the network also converts its input as torchvision's GoogLeNet and
            Inception do with their pretrained weights.
        weights_sha256: the digest of the weights, as in `result.json`; None matches any.
        run: about the run that trained it: name, role, cell, fingerprint, metrics, ...
        teachers: of that run: each has a `name` and the `fingerprint` of its own run, or a `model`
            and its `weights`.
    """

    model: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: str = "fp32"
    expects: Mapping[str, Sequence[float]] | None = None
    transforms_input: bool = False
    weights_sha256: str | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    teachers: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises ValueError for another content."""
        if content.get("format") != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {shown(content.get('format'))}")
        known = {key: content[key] for key in cls.__dataclass_fields__ if key in content}
        try:
            known["preprocessing"] = Preprocessing.from_json(known["preprocessing"])
            if isinstance(known["classes"], list):  # a text would be one of letters
                known["classes"] = tuple(known["classes"])
            known["teachers"] = tuple(known.get("teachers", ()))
            manifest = cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"its content must be complete, got {type(error).__name__} {error}"
            ) from error
        manifest._check()
        return manifest

    def _check(self) -> None:
        """Raise ValueError for values of another type than theirs."""
        require(isinstance(self.model, Mapping), "model", "a mapping", self.model)
        are_names = isinstance(self.classes, tuple) and all(
            isinstance(n, str) for n in self.classes
        )
        require(are_names and len(self.classes) > 1, "classes", "at least 2 names", self.classes)
        check_option("precision", self.precision, (FP32, BF16))
        require(isinstance(self.run, Mapping), "run", "a mapping", self.run)
        metrics = self.run.get("metrics", {})
        are_numbers = isinstance(metrics, Mapping) and all(
            value is None or is_number(value)  # JSON has no NaN
            for value in metrics.values()
        )
        require(are_numbers, "run.metrics", "numbers by their names", metrics)
        require(
            all(map(_is_teacher, self.teachers)), "teachers", "mappings with a name", self.teachers
        )
        digest = self.weights_sha256
        require(digest is None or isinstance(digest, str), "weights_sha256", "a text", digest)
        if self.expects is not None:
            require(isinstance(self.expects, Mapping), "expects", "a mapping", self.expects)
            for key in ("mean", "std"):
                check_numbers(f"expects.{key}", self.expects.get(key), self.preprocessing.channels)

    def to_json(self) -> dict[str, Any]:
        """The content of `classifier.json`."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__}
        values |= {"preprocessing": self.preprocessing.to_json(), "classes": list(self.classes)}
        content: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **values}))
        return content


def _is_teacher(content: object) -> bool:
    """Whether an entry of `teachers` has values that can be used."""
    if not isinstance(content, Mapping) or "name" not in content:
        return False
    texts = (content.get(key, "") for key in ("name", "fingerprint", "folder", "weights"))
    return all(isinstance(text, str) for text in texts)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `classifier.json` into the folder of the weights. Raises OSError."""
    write_json_atomic(folder / CLASSIFIER, manifest.to_json())


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a folder. Raises UserError if there is none, or it is damaged."""
    path = folder / CLASSIFIER
    try:
        return Manifest.from_json(read_json(path))
    except OSError as error:
        raise UserError(
            f"SOURCE must have a {CLASSIFIER}, got {path}, which cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise UserError(
            f"SOURCE must have a {CLASSIFIER} that this version of kdsweep can read, got {path}:"
            f" {error}"
        ) from error
