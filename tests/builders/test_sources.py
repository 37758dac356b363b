"""The data sources of a command: a folder of images is listed once."""

from contextlib import closing
from pathlib import Path

import pytest
from commands import Command, Compose
from PIL import Image

from kdsweep.builders.sources import DataSources
from kdsweep.config.schema import CacheConfig
from kdsweep.data import image_folder
from kdsweep.execution.context import TrainingContext
from kdsweep.runs.build_specs import build_specs
from kdsweep.tracking.console import Progress


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of parts that are searched for images, once for each time."""
    folders: list[Path] = []
    search = image_folder.class_folder

    def noted(folder: Path, *args: object, **options: object) -> object:
        folders.append(folder)
        return search(folder, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(image_folder, "class_folder", noted)
    return folders


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A data set in train/ and test/."""
    for folder in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for image in range(10):
            path = tmp_path / "images" / folder / f"{image}.png"
            Image.new("L", (8, 8), 20 * image).save(path)
    root = [f"dataset.root={tmp_path}/images", "dataset.source.channels=1"]
    root += [f"cache.folder={tmp_path}/cache"]
    return ["dataset=image_folder", *root, "teacher=none", "loss=ce", "trainer.batch_size=8"]


@pytest.mark.ci
def test_the_runs_of_a_command_and_its_data_share_one_list(
    compose: Compose, words: list[str], listed: list[Path]
) -> None:
    sources = DataSources()
    for seeds in ([0, 1], [2]):  # blocks of a search
        jobs = [[*words, f"seed={seed}", f"student.model.width={8 + seed}"] for seed in seeds]
        specs = build_specs([compose(*job) for job in jobs], jobs, 0, [], sources)
    cache = CacheConfig(specs[0].config.cache.folder)
    with closing(TrainingContext({"uri": None}, Progress(), cache)) as context:
        context.data_sources = sources
        assert len(context.dataset(specs[0].config).test.labels) == 20
    assert [folder.name for folder in listed] == ["train", "test"]
    listed.clear()
    build_specs([compose(*words)], [words], 0, [])
    assert [folder.name for folder in listed] == ["train", "test"]  # of another command


@pytest.mark.ci
def test_a_command_lists_a_folder_once(
    command: Command, words: list[str], listed: list[Path]
) -> None:
    found = command(*words, "seed=0,1", "trainer.epochs=1")
    assert found.code == 0, found.err
    assert [folder.name for folder in listed] == ["train", "test"]
