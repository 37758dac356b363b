"""Each worker has cores, or a GPU, of its own."""

import os
from pathlib import Path

import pytest

from kdsweep.errors import UserError
from kdsweep.work import places
from kdsweep.work.places import VISIBLE, Place, find_places


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four cores of two hyper-threads each: 0 and 4, 1 and 5, ..."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(places, "SIBLINGS", tmp_path)
    monkeypatch.setattr(places, "usable_cores", lambda physical: 4 if physical else 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("cores")
def test_workers_share_no_core() -> None:
    assert [place.cpus for place in find_places(2, "cpu", 1)] == [{0, 4, 1, 5}, {2, 6, 3, 7}]
    assert [place.cpus for place in find_places("auto", "cpu", 2)] == [{0, 4, 1, 5}, {2, 6, 3, 7}]
    assert len(find_places("auto", "cpu", 1)) == 4


@pytest.mark.usefixtures("cores")
def test_one_worker_may_use_all() -> None:
    assert find_places(1, "cpu", 1) == [Place()]
    assert find_places("auto", "cpu", 4) == [Place()]


@pytest.mark.usefixtures("cores")
def test_more_workers_than_cores_are_not_pinned() -> None:
    assert find_places(9, "cpu", 1) == [Place()] * 9


@pytest.mark.usefixtures("cores")
def test_more_threads_than_cores_are_refused() -> None:
    sentence = "hydra.launcher.workers must be at most 2 with trainer.threads=3 on 8 cores, got 3"
    with pytest.raises(UserError, match=sentence):
        find_places(3, "cpu", 3)


@pytest.mark.parametrize("workers", [0, -1, "two", 1.5, None, True, 10**9])
def test_other_values_are_refused(workers: object) -> None:
    with pytest.raises(
        UserError, match=r"hydra\.launcher\.workers must be auto or from 1 to \d+, got"
    ):
        find_places(workers, "cpu", 1)


def test_each_worker_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "2,5")
    assert [place.environment for place in find_places("auto", "cuda", 1)] == [
        {VISIBLE: "2"},
        {VISIBLE: "5"},
    ]
    assert [place.environment[VISIBLE] for place in find_places(3, "cuda", 1)] == ["2", "5", "2"]


def test_a_gpu_that_is_named_is_for_one_worker() -> None:
    assert find_places(1, "cuda:1", 1) == [Place()]
    sentence = "trainer.device must be auto or cuda with hydra.launcher.workers=2, got cuda:1"
    with pytest.raises(UserError, match=sentence):
        find_places(2, "cuda:1", 1)
