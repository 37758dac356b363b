"""Real runs, loaded in processes of their own, without what trained them."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command
from PIL import Image
from typer.testing import CliRunner

import kdsweep
from kdsweep.cli import app
from kdsweep.common.files import read_json
from kdsweep.deploy.sources import find_bundle
from kdsweep.report.sources.address import Address
from kdsweep.tracking.predictions import load_predictions

pytestmark = pytest.mark.slow

CLASSES = ("cat", "dog", "eel")
PROGRAM = """
import sys
import kdsweep
found = kdsweep.load(sys.argv[1]).predict(sys.argv[2:])
print(*found.probabilities.flatten().tolist())
"""


def photo(generator: np.random.Generator, label: int) -> Image.Image:
    """An image of any size and mode, of a class's colour."""
    height, width = generator.integers(40, 160, 2)
    pixels = generator.integers(0, 200, (height, width, 3))
    pixels[..., label] += 55
    image = Image.fromarray(pixels.astype(np.uint8))
    return image.convert(generator.choice(["RGB", "L", "RGBA", "CMYK", "P"]))


def write_images(folder: Path, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = photo(generator, label)
            exif = Image.Exif()
            exif[0x0112] = int(generator.integers(1, 9))
            ending = {"CMYK": "jpg"}.get(image.mode, "png")
            image.save(folder / name / f"{number:03}.{ending}", exif=exif.tobytes())


@pytest.mark.parametrize("download", ["here", "there"])
def test_predictions_are_those_of_the_evaluation_in_training(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: str
) -> None:
    """A folder at 64 pixels with crop; then in a new process, elsewhere, from MLflow alone.

    Importing MLflow takes most of the time of the process, and is left out where the files of the
    run have been downloaded before.
    """
    write_images(tmp_path / "data" / "train", 24, seed=0)
    write_images(tmp_path / "data" / "test", 12, seed=1)
    outcome = command(
        "dataset=image_folder",
        f"dataset.root={tmp_path}/data",
        "dataset.source.image_size=64",
        "dataset.source.crop=true",
        "student=convnet4",
        "student.model.width=8",
        "teacher=convnet4",
        f"teacher.store={tmp_path}/own",
        tracking=True,
    )
    assert outcome.code == 0, outcome.err
    folder = outcome.sweep / "0"
    recorded = load_predictions(folder / "answers.safetensors")
    expected = torch.tensor(recorded.logits["test"]).softmax(1)
    files = sorted(str(path) for path in (tmp_path / "data" / "test").glob("*/*"))
    found = kdsweep.load(folder).predict(files, batch_size=7)
    assert (found.probabilities - expected).abs().max() < 1e-5
    assert found.classes == CLASSES

    run_id = read_json(folder / "run.json")["mlflow_run_id"]
    for gone in ("multirun", "own", "data/train", "cache"):
        shutil.rmtree(tmp_path / gone)
    source = run_id if download == "there" else find_bundle(run_id, Address().open)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, *files],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    again = torch.tensor([float(word) for word in ran.stdout.split()]).reshape(len(files), -1)
    assert (again - expected).abs().max() < 1e-5


def test_a_thousand_images_real_and_broken(bundle: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 300, seed=2)
    real = sorted(str(path) for path in (tmp_path / "images").glob("*/*"))
    broken = [str(tmp_path / "images" / f"broken{number:02}.jpg") for number in range(100)]
    for number, path in enumerate(broken):
        content = Path(real[number]).read_bytes()
        Path(path).write_bytes([b"", content[:20], b"<html>", content[::-1]][number % 4])
    words = ["predict", str(bundle), str(tmp_path / "images"), "--format", "csv"]
    picture = str(tmp_path / "confusion.png")
    result = CliRunner().invoke(app, [*words, "--confusion", picture])
    assert result.exit_code == 1
    classified = [line.split(",")[0] for line in result.stdout.splitlines()[1:]]
    assert classified == real
    named = {line.partition(": ")[0] for line in result.stderr.splitlines()}
    assert set(broken) <= named
    assert "100 of 1,000 images could not be read" in result.stderr


PEAK = """
import resource, sys
import kdsweep
from kdsweep.deploy.predict import predict_files

paths = sys.argv[2:]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
classifier = kdsweep.load(sys.argv[1])
for _ in predict_files(paths[:64], [classifier], top=1, batch_size=16):
    pass
before = peak()
for _ in range(20):
    for _ in predict_files(paths, [classifier], top=1, batch_size=16):
        pass
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_images(bundle: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    paths = [tmp_path / f"{number}.png" for number in range(64)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)
    words = [sys.executable, "-c", PEAK, str(bundle), *map(str, paths)]
    grown = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    images = 64 * 20 * 400 * 400 * 3 / 1024  # all of them decoded, KiB
    assert grown < 0.05 * images
