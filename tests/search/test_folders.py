"""No trial takes what another search, or other data, has left."""

from pathlib import Path

import pytest
from commands import Command

from kdsweep.common.files import read_json
from kdsweep.data.fake import Fake

SEARCH = [
    "search=bayes",
    "search.name=mine",
    "search.seeds=[0]",
    "search.finalists=0",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.n_jobs=2",
    "loss=kl",
    "tracking.plots=none",
]


def contents(folder: Path) -> dict[str, bytes]:
    paths = folder.glob("multirun/mine/*/seed-*/**/*")
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


def test_trials_of_another_search_of_this_name_are_not_taken(command: Command) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    assert first.code == 0, first.err
    before = contents(first.folder)
    (first.folder / "optuna.db").rename(first.folder / "old.db")
    again = command(*SEARCH, "T=interval(5,8)")
    assert again.code == 1
    assert "search.name must be another one, or multirun/mine/0/seed-0 be moved away" in again.err
    assert "Traceback" not in again.err
    assert contents(first.folder) == before


@pytest.mark.slow
def test_the_same_search_finds_its_trials_without_its_storage(command: Command) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    before = contents(first.folder)
    (first.folder / "optuna.db").unlink()
    again = command(*SEARCH, "T=interval(1,4)")
    assert again.code == 0, again.err
    assert "epochs" not in again.err, "something was trained again"
    assert contents(first.folder) == before


@pytest.mark.slow
def test_a_search_is_refused_other_data(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    before = contents(first.folder)
    monkeypatch.setattr(Fake, "digest", lambda self: "of other images")
    again = command(*SEARCH, "T=interval(1,4)", "hydra.sweeper.n_trials=4")
    assert again.code == 1
    assert "content of dataset of the search mine must stay" in again.err
    assert contents(first.folder) == before


@pytest.mark.slow
def test_a_search_does_not_begin_in_the_folder_of_a_grid(command: Command) -> None:
    first = command("T=1", "hydra.sweep.dir=multirun/mine")
    before = read_json(first.folder / "multirun" / "mine" / "sweep.json")
    again = command(*SEARCH, "T=interval(1,4)")
    assert again.code == 1
    assert "which holds a sweep" in again.err
    assert read_json(first.folder / "multirun" / "mine" / "sweep.json") == before


@pytest.mark.slow
def test_a_damaged_result_of_a_trial_is_trained_again(command: Command) -> None:
    first = command(*SEARCH, "T=interval(1,4)")
    result = first.folder / "multirun" / "mine" / "1" / "seed-0" / "result.json"
    whole = read_json(result)["weights_sha256"]
    result.write_text("")
    (first.folder / "optuna.db").unlink()
    again = command(*SEARCH, "T=interval(1,4)")
    assert again.code == 0, again.err
    assert read_json(result)["weights_sha256"] == whole
