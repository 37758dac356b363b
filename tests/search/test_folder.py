"""A search's folder: made before its study, and gone again with a search that is refused."""

from pathlib import Path

import pytest

from kdsweep.common.files import write_json_atomic
from kdsweep.errors import RunFailed, UserError
from kdsweep.search.folder import own_folder
from kdsweep.search.study import LOCK
from kdsweep.tracking.metadata import SWEEP, SWEEP_DEFAULTS

FOLDER = Path("multirun/mine")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fail_inside(error: Exception, file: str) -> None:
    with own_folder(FOLDER):
        (FOLDER / file).touch()
        raise error


def test_a_refused_search_leaves_nothing() -> None:
    with pytest.raises(UserError):
        fail_inside(UserError("alpha must be a number in [0, 1], got 2"), LOCK)
    assert not Path("multirun").exists()


def test_the_folder_of_a_search_that_has_begun_stays() -> None:
    with pytest.raises(RunFailed):
        fail_inside(RunFailed("a trial"), LOCK)
    with pytest.raises(UserError):
        fail_inside(UserError("T of the search mine must stay 1, got 2"), "search.json")
    assert sorted(path.name for path in FOLDER.iterdir()) == [LOCK, "search.json"]


@pytest.mark.parametrize("occupied", ["multirun", "multirun/mine"])
def test_a_folder_that_cannot_be_made_is_refused(occupied: str) -> None:
    Path(occupied).parent.mkdir(exist_ok=True)
    Path(occupied).write_text("a file")
    with pytest.raises(UserError) as refused, own_folder(FOLDER):
        raise AssertionError("it is not entered")
    assert str(refused.value).startswith(
        "search.name must be that of a folder that can be written, got mine: "
    )


def test_a_folder_of_a_sweep_is_refused() -> None:
    FOLDER.mkdir(parents=True)
    write_json_atomic(FOLDER / SWEEP, SWEEP_DEFAULTS | {"name": "T=1,4", "created": 0})
    with pytest.raises(UserError, match=r"^search\.name must be another one, got mine: .* sweep$"):
        own_folder(FOLDER).__enter__()
