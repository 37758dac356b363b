"""Images that stay on disk and break there: found first, reported in one sentence, nothing lost."""

import shutil

import pytest

from kdsweep.tracking.recorder import Recorder

WORDS = (
    *("loss=ce", "dataset=image_folder", "dataset.root=images"),
    *(
        "dataset.source.image_size=8",
        "dataset.source.memory_gib=1e-9",
        "dataset.source.workers=0",
        "tracking.checkpoint_seconds=0",
    ),
    "trainer.batch_size=8",
)


@pytest.fixture
def root(image_folder, tmp_path):
    """A copy of them in images/, where the command looks for them."""
    return shutil.copytree(image_folder, tmp_path / "images")


@pytest.fixture(scope="module")
def whole(image_folder, trained):
    """The digest of the weights of a run that no image has broken, by its cell."""
    rows = trained(*WORDS, f"dataset.root={image_folder}", "-m").rows
    return {row["cell"]: row["weights_sha256"] for row in rows}


def damage(path):
    """Cut a file short, behind its header; returns what mends it."""
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    return lambda: path.write_bytes(content)


def assert_one_sentence(outcome, path):
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    sentences = [line for line in outcome.err.splitlines() if path.name in line]
    assert len(sentences) == 1
    assert sentences[0].startswith("dataset.source must give readable images")
    assert f"{path.parent.name}/{path.name}" in sentences[0]


@pytest.mark.parametrize("part", ["test", "train"])  # val is a part of train
def test_broken_image_is_found_before_training(command, root, part):
    for path in (
        [root / "test" / "dog" / "03.jpg"] if part == "test" else (root / "train").rglob("*.jpg")
    ):
        damage(path)
    outcome = command(*WORDS, "dataset.mean=[0,0,0]", "dataset.std=[1,1,1]")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert "dataset.source must give readable images" in outcome.err
    assert not list(outcome.folder.glob("multirun/**/run.json"))


@pytest.mark.ci
@pytest.mark.parametrize("part", ["train", pytest.param("test", marks=pytest.mark.slow)])
def test_image_that_breaks_in_training_loses_nothing(command, root, whole, part, monkeypatch):
    assert whole
    path = root / part / "cat" / "01.jpg"
    mends = []

    def epoch(recorder, number, metrics, record=Recorder.epoch):
        if number == 0 and not mends:
            mends.append(damage(path))
        record(recorder, number, metrics)

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "epoch", epoch)
        broken = command(*WORDS, "-m", "hydra.sweep.dir=again")
    assert_one_sentence(broken, path)
    mends[0]()
    outcome = command(*WORDS, "-m", "hydra.sweep.dir=again", "resume=true")
    assert outcome.code == 0, outcome.err
    from kdsweep.tracking.results_table import collect

    rows = collect(outcome.folder / "again")
    assert {row["cell"]: row["weights_sha256"] for row in rows} == whole
    assert {row["status"] for row in rows} == {"FINISHED"}
