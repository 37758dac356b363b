import os
import signal
import time
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from PIL import Image

from kdsweep.data.images import reader_processes
from kdsweep.data.images.encoded import ImageFormat
from kdsweep.data.images.files import ImageFiles
from kdsweep.data.images.lazy import StoredImages
from kdsweep.data.types import DataError

BATCHES = torch.arange(8).split(2)
MESSAGE = r"^dataset\.source\.workers must be 0 where .*--shm-size=8g\), got: "


class Hostile(ImageFiles):
    """Image 4 does something to the process that opens it."""

    def open(self, row):
        if row == 4:
            self.harm()
        return super().open(row)


class Deadly(Hostile):
    def harm(self):
        time.sleep(0.5)  # what it has read before is on its way
        os.kill(os.getpid(), signal.SIGKILL)


class Stuck(Hostile):
    def harm(self):
        time.sleep(60)


def stored(folder, kind, workers=2):
    paths = [folder / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((3, 3, 3), number, dtype=np.uint8)).save(path)
    return StoredImages(kind(folder, paths), ImageFormat(3, 3, 3), workers)


def values(batches):
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


def test_workers_read_every_batch_in_order(tmp_path):
    got = torch.cat(list(stored(tmp_path, ImageFiles).read(BATCHES)))
    assert got[:, 0, 0, 0].tolist() == list(range(8))


@pytest.mark.filterwarnings("error")
def test_more_processes_than_cores_are_no_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert values(stored(tmp_path, ImageFiles).read(BATCHES[:2])) == [[0, 1], [2, 3]]


@pytest.mark.ci
def test_processes_are_kept_from_one_epoch_to_the_next_until_they_are_closed(tmp_path):
    images, others = stored(tmp_path, ImageFiles), {*active_children()}
    assert values(images.read(BATCHES)) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    kept = {*active_children()} - others
    assert len(kept) == 2
    reordered = torch.tensor([7, 3, 1, 0, 5]).split(3)
    assert values(images.read(reordered)) == [[7, 3, 1], [0, 5]]
    assert {*active_children()} - others == kept
    images.close()
    assert {*active_children()} == others
    assert values(images.read(BATCHES[:1])) == [[0, 1]]


@pytest.mark.ci
def test_epochs_that_are_read_at_once_have_processes_of_their_own(tmp_path):
    images, others = stored(tmp_path, ImageFiles), {*active_children()}
    both = zip(images.read(BATCHES), images.read(BATCHES[::-1]), strict=True)
    found = [[(a[0, 0, 0, 0].item(), b[0, 0, 0, 0].item())] for a, b in both]
    assert found == [[(0, 6)], [(2, 4)], [(4, 2)], [(6, 0)]]
    assert len({*active_children()} - others) == 2  # those of one of them are kept


@pytest.mark.ci
def test_reading_that_is_stopped_ends_its_processes(tmp_path):
    images, others = stored(tmp_path, ImageFiles), {*active_children()}
    reading = images.read(BATCHES)
    next(reading)
    reading.close()
    assert {*active_children()} == others
    assert values(images.read(BATCHES)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.ci
def test_an_unreadable_image_is_reported_and_can_be_mended(tmp_path):
    images = stored(tmp_path, ImageFiles)
    list(images.read(BATCHES))
    path = tmp_path / "5.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(DataError, match=r"5\.png"):
        list(images.read(BATCHES))
    path.write_bytes(whole)
    assert values(images.read(BATCHES)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("pinned", [False, True])
def test_batches_for_a_gpu_are_pinned_by_a_thread(tmp_path, monkeypatch, pinned):
    asked = []

    class Loader(reader_processes.data.DataLoader):
        def __init__(self, *args, pin_memory, **options):
            asked.append(pin_memory)  # there may be no GPU here, whose driver pins memory
            super().__init__(*args, **options)

    monkeypatch.setattr(reader_processes.data, "DataLoader", Loader)
    got = torch.cat(list(stored(tmp_path, ImageFiles).read(BATCHES, pinned=pinned)))
    assert len(got) == 8
    assert asked == [pinned]


def test_too_little_shared_memory_is_one_message(tmp_path, monkeypatch):
    def full(size):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", full)
    with pytest.raises(DataError, match=MESSAGE + "no room in shared memory"):
        list(stored(tmp_path, ImageFiles).read(BATCHES))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionRefusedError(111, "Connection refused"),
        FileNotFoundError(2, "No such file or directory"),
        EOFError(),
        RuntimeError("DataLoader worker (pid 7) exited unexpectedly\nmore"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_torch_raises_of_a_lost_worker_is_the_same_message(tmp_path, monkeypatch, error):
    class Lost:
        def __init__(self, *_, **__):
            pass

        def __iter__(self):
            return self

        def __next__(self):
            raise error

    monkeypatch.setattr(reader_processes.data, "DataLoader", Lost)
    with pytest.raises(DataError, match=MESSAGE) as refused:
        list(stored(tmp_path, ImageFiles).read(BATCHES))
    assert (str(error) or "EOFError").splitlines()[0] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_death_of_a_worker_is_one_message(tmp_path):
    with pytest.raises(DataError, match=MESSAGE + r"DataLoader worker .* exited unexpectedly"):
        list(stored(tmp_path, Deadly).read(BATCHES))


@pytest.mark.slow
def test_death_of_a_worker_is_never_raised_elsewhere(tmp_path):
    reading = stored(tmp_path, Deadly).read(BATCHES)
    assert len(next(reading)) == 2
    time.sleep(1.5)  # a training step, in which the worker dies
    with pytest.raises(DataError, match=MESSAGE):
        list(reading)


@pytest.mark.slow
def test_worker_that_does_not_get_on_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_processes, "TIMEOUT", 1)
    started = time.monotonic()
    with pytest.raises(DataError, match=MESSAGE):
        list(stored(tmp_path, Stuck).read(BATCHES))
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_death_of_a_worker_between_epochs_is_the_same_message(tmp_path):
    images, others = stored(tmp_path, ImageFiles), {*active_children()}
    list(images.read(BATCHES))
    for process in {*active_children()} - others:
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=MESSAGE + r"DataLoader worker .* exited unexpectedly"):
        list(images.read(BATCHES))
    assert values(images.read(BATCHES)) == [[0, 1], [2, 3], [4, 5], [6, 7]]
