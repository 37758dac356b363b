"""A classifier as a repository of the Hugging Face Hub, in a local folder or on the hub.

The layout is that of `PyTorchModelHubMixin`: config.json, model.safetensors and README.md, which is
the model card; and classifier.json, with which `kdsweep.load` opens the same folder.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin, snapshot_download
from torch import Tensor, nn

from kdsweep.common.files import write_json_atomic, write_text_atomic
from kdsweep.deploy.bundle import read_bundle, write_bundle
from kdsweep.deploy.card_facts import CardFacts, card_facts
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import CLASSIFIER, WEIGHTS, Manifest
from kdsweep.deploy.model_card import model_card
from kdsweep.errors import UserError

CONFIG, README = "config.json", "README.md"
FILES = (CONFIG, README, CLASSIFIER, WEIGHTS)
TAGS = ("kdsweep", "knowledge-distillation", "model_hub_mixin", "pytorch_model_hub_mixin")
TEACHER_KEYS = ("name", "fingerprint", "model")  # of what is published; the rest are paths


class PretrainedClassifier(nn.Module, PyTorchModelHubMixin):  # type: ignore[misc, unused-ignore]
    """A network with `from_pretrained`, `save_pretrained` and `push_to_hub`.

    Attributes:
        classifier: it takes images of any kind (`predict`).
    """

    def __init__(self, classifier: Classifier, card: str | None = None) -> None:
        """Its model card is the text ``card``, by default one of what the manifest has."""
        super().__init__()
        self.classifier, self.module, self._card = classifier, classifier.module, card

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, channels, H, W) -> logits (B, C)."""
        logits: Tensor = self.module(images)
        return logits

    def _save_pretrained(self, save_directory: Path) -> None:
        manifest = _published(self.classifier.manifest)
        write_bundle(save_directory, self.module, manifest)
        write_json_atomic(save_directory / CONFIG, {"library_name": "kdsweep", **_config(manifest)})
        write_text_atomic(save_directory / README, str(self.generate_model_card()))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        device: str = "cpu",
        **_: Any,
    ) -> "PretrainedClassifier":
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=list(FILES),
                )
            )
        return cls(read_bundle(folder, device=device, source={"repository": model_id}))

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """The model card, with the metadata of the hub."""
        data = ModelCardData(
            library_name="kdsweep",
            pipeline_tag="image-classification",
            tags=list(TAGS),
            metrics=["accuracy"],
        )
        text = self._card or _card(card_facts(Path(str(self.classifier.source["folder"]))))
        return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def push(classifier: Classifier, folder: Path) -> Path:
    """Write a classifier to a folder as a repository of the hub; other files there are kept.

    Raises UserError if it is no folder, and OSError if it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"DIR must be a folder, got {folder}, a file")
    card = _card(card_facts(Path(str(classifier.source["folder"]))))
    PretrainedClassifier(classifier, card).save_pretrained(folder)
    return folder


def _card(facts: CardFacts) -> str:
    load = (
        "from kdsweep import Classifier\n\n"
        'classifier = Classifier.from_pretrained("DIR")  # or the name of its repository\n'
        'classifier.predict(["image.png"])[0].label'
    )
    return model_card(str(facts.manifest.run.get("student") or "classifier"), facts, load)


def _published(manifest: Manifest) -> Manifest:
    """Without paths of the machine that it was trained on."""
    teachers = tuple(
        {key: one[key] for key in TEACHER_KEYS if key in one} for one in manifest.teachers
    )
    return replace(manifest, teachers=teachers)


def _config(manifest: Manifest) -> Mapping[str, Any]:
    """What the hub shows of a model, and tools read."""
    content = manifest.to_json()
    names = dict(enumerate(content["classes"]))
    return {
        "architectures": [str(manifest.model.get("_target_", "")).rpartition(".")[2]],
        "id2label": {str(index): name for index, name in names.items()},
        "label2id": {name: index for index, name in names.items()},
        "model": content["model"],
        "preprocessing": content["preprocessing"],
    }
