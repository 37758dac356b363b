"""Sweeps over images that do not fit into memory and are decoded batch by batch."""

from multiprocessing import active_children

import pytest

from kdsweep.data.images import lazy

WORDS = (
    *("loss=ce", "dataset=image_folder", "trainer.batch_size=8"),
    *("dataset.source.image_size=8", "dataset.source.draft=true"),
)
ON_DISK = "dataset.source.memory_gib=1e-9"


@pytest.fixture
def decoded(monkeypatch):
    """The names of images, one for each time that their pixels are computed for a batch."""
    names = []
    decode = lazy.decode

    def noted(images, row, image_format):
        names.append(images.key(row))
        return decode(images, row, image_format)

    monkeypatch.setattr(lazy, "decode", noted)
    return names


@pytest.mark.ci
def test_students_share_one_decode(command, image_folder, decoded):
    # Without a cache, which would spare the second command the check of files that are old enough.
    words = (*WORDS, f"dataset.root={image_folder}", ON_DISK, "cache.gib=0")
    words = (*words, "dataset.source.workers=0")
    counts = []
    for rates in ("0.1", "0.1,0.2,0.3"):
        decoded.clear()
        outcome = command("-m", *words, f"optimizer.lr={rates}")
        assert outcome.code == 0, outcome.err
        counts.append(len(decoded))
    assert counts[0] == counts[1] > 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["auto", "0", "2"])
def test_bits_do_not_depend_on_the_number_of_processes(trained, image_folder, workers):
    words = (*WORDS, f"dataset.root={image_folder}")
    (in_memory,) = trained(*words).rows
    (row,) = trained(*words, ON_DISK, f"dataset.source.workers={workers}").rows
    assert row["weights_sha256"] == in_memory["weights_sha256"]


@pytest.mark.slow
def test_processes_are_started_once_for_all_epochs_and_end_with_the_cohort(
    command, image_folder, monkeypatch
):
    others, started = {*active_children()}, []

    class Noted(lazy.ReaderProcesses):
        def __init__(self, *words, **options):
            started.append(self)
            super().__init__(*words, **options)

    monkeypatch.setattr(lazy, "ReaderProcesses", Noted)
    # Else nothing is kept of files that are as new as those of a test.
    monkeypatch.setattr("kdsweep.data.images.file_digests.UNSETTLED_NS", 0)
    words = (*WORDS, f"dataset.root={image_folder}", ON_DISK, "dataset.source.workers=2")
    counts = []
    for epochs in (1, 2, 4):  # the first command also measures the images, and keeps what it finds
        started.clear()
        assert command(*words, f"trainer.epochs={epochs}", "-m").code == 0
        counts.append(len(started))
        started.clear()
        assert {*active_children()} == others
    assert counts[1] == counts[2] > 0
