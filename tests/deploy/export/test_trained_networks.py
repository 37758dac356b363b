"""Students of each family, trained for an epoch: a file has their logits on all of validation."""

from pathlib import Path

import numpy as np
import pytest
from commands import UNDRAWN, Command
from hf_folders import write_vit
from PIL import Image

from kdsweep.deploy.evaluation_images import images_to_compare
from kdsweep.deploy.export.export import ExportOptions, export
from kdsweep.deploy.sources import load

pytest.importorskip("onnx")
pytestmark = pytest.mark.slow

VALIDATION = 250
SIZE = 32
DIGITS = ("dataset=digits",)
FOLDER = (
    "dataset=image_folder",
    "dataset.root=digits",
    f"dataset.source.image_size={SIZE}",
    f"dataset.val_fraction={VALIDATION / 1000}",
)
STUDENTS = {
    "mlp": (*DIGITS, "student=mlp"),
    "cnn": (*DIGITS, "student=cnn"),
    "convnet4": (*FOLDER, "student=convnet4"),
    "resnet8x4": (*FOLDER, "student=resnet8x4"),
    "resnet18": (*FOLDER, "student=torchvision", "student.model.name=resnet18"),
    "mobilenet_v3": (*FOLDER, "student=torchvision", "student.model.name=mobilenet_v3_small"),
    "timm": (*FOLDER, "student=timm", "student.model.name=convnext_atto"),
    "hf": (*FOLDER, "student=hf", "student.model.path=vit"),
    "vit_tiny": (*FOLDER, "student=vit_tiny", "student.model.depth=4"),
}
# Steps enough for the statistics of BatchNorms, without which logits are huge.
TRAINED = (
    "teacher=none",
    "loss=ce",
    "trainer.epochs=1",
    "trainer.batch_size=32",
    "optimizer.lr=0.01",
    "tracking=none",
)


def write_digits(folder: Path, first: int, last: int) -> None:
    """Digits from scikit-learn as colour images of 32 x 32 pixels in folders of classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in range(first, last):
        path = folder / str(digits.target[number]) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((digits.images[number] * 15.9).astype(np.uint8))
        grey.resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB").save(path)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_file_is_equal_to_torch_on_the_whole_validation_set(
    name: str, command: Command, tmp_path: Path
) -> None:
    if name == "timm":
        pytest.importorskip("timm")
    if name == "hf":
        write_vit(tmp_path / "vit", labels=10)
    if STUDENTS[name][0] != DIGITS[0]:
        write_digits(tmp_path / "digits/train", 0, 1000)
        write_digits(tmp_path / "digits/test", 1000, 1050)
    outcome = command(*STUDENTS[name], *TRAINED, *UNDRAWN, tiny=False)
    assert outcome.code == 0, outcome.err
    classifier = load(str(outcome.sweep / "0"))
    images, why = images_to_compare(classifier)
    assert (why, images.split) == (None, "val")
    for form in ("onnx", "pt2") if name == "hf" else ("onnx",):
        options = ExportOptions(format=form, output=tmp_path / f"model.{form}")
        check = export(classifier, options, images).check
        assert check.count == check.same_class == len(images) >= 100
        assert check.largest_difference <= 1e-4
        assert check.accuracy == check.torch_accuracy
