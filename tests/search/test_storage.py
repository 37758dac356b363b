"""A journal as the storage of a study: the same search, whole lines, and refusals."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from commands import Command
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from kdsweep.errors import UserError
from kdsweep.search import storage
from kdsweep.search.lease import claim, enqueue
from kdsweep.search.optuna_internals import SearchStudy
from kdsweep.search.study import open_study

SEARCH = [
    "search=bayes",
    "hydra.sweeper.n_trials=4",
    "hydra.sweeper.n_jobs=2",
    "search.finalists=1",
]
NO_FINALS = ["search.finalists=0"]
IN_A_JOURNAL = "hydra.sweeper.storage=journal:///optuna.journal"


def opened(address: str, folder: Path) -> SearchStudy:
    folder.mkdir(exist_ok=True)
    pruner = optuna.pruners.NopPruner()
    return open_study(address, "night", ["maximize"], {"space": "T"}, pruner, folder)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "optuna.journal"


@pytest.fixture
def study(journal: Path, tmp_path: Path) -> Iterator[SearchStudy]:
    """A study in a journal, with four trials of which two are claimed."""
    with closing(opened(f"journal:///{journal}", tmp_path)) as study:
        enqueue(study, 4, tmp_path)
        assert claim(study, 4, 2, tmp_path) == [0, 1]
        yield study


def values(trials: list[FrozenTrial]) -> list[object]:
    return [(trial.number, trial.state, trial.params, trial.values) for trial in trials]


@pytest.mark.slow
def test_a_search_is_the_same_as_in_a_database(command: Command, tmp_path: Path) -> None:
    found = []
    for number, words in enumerate(([], [IN_A_JOURNAL])):
        words = [*words, *NO_FINALS]
        outcome = command(*SEARCH, *words, f"search.name=night{number}", "teacher.store=teachers")
        assert outcome.code == 0, outcome.err
    (name,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/optuna.db")
    found.append(optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/optuna.db"))
    kept = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    found.append(optuna.load_study(study_name=None, storage=kept))
    assert values(found[0].trials) == values(found[1].trials)
    assert len(found[1].trials) == 4
    size = (tmp_path / "optuna.journal").stat().st_size
    words = [IN_A_JOURNAL, *NO_FINALS]
    again = command(*SEARCH, *words, "search.name=night1", "teacher.store=teachers")
    assert "4 trials complete" in again.out
    # the axis labels of optuna-dashboard are written with every start
    assert (tmp_path / "optuna.journal").stat().st_size - size < 500
    assert list(tmp_path.glob("*.lock")) == []


@pytest.mark.parametrize("part", ['{"op_code":6,"trial_', '{"op_code":3,"study_id":0}', "{"])
def test_a_line_that_was_left_unfinished_is_cut_off(
    study: SearchStudy, journal: Path, tmp_path: Path, part: str
) -> None:
    with journal.open("a") as file:
        file.write(part)
    with closing(opened(f"journal:///{journal}", tmp_path)) as other:
        assert claim(other, 4, 2, tmp_path) == [2, 3]
        other.tell(2, 0.5)
    study.tell(0, 0.25)
    with closing(opened(f"journal:///{journal}", tmp_path)) as third:
        states = [trial.state for trial in third.trials]
    assert states == [
        *[TrialState.COMPLETE, TrialState.RUNNING],
        *[TrialState.COMPLETE, TrialState.RUNNING],
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The value of `grace_period` might be too small")
def test_the_locks_of_a_dead_process_are_taken(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    left = [journal.with_name(f"optuna.journal{end}") for end in (".lock", ".claims.lock")]
    for path in left:
        path.touch()
    begun = time.monotonic()
    with closing(opened(f"journal:///{journal}", tmp_path)) as study:
        enqueue(study, 4, tmp_path)
        assert claim(study, 4, 4, tmp_path) == [0, 1, 2, 3]
    assert time.monotonic() - begun > 1
    assert [path for path in left if path.exists()] == []


def test_a_process_that_lost_its_lock_continues(journal: Path) -> None:
    place = storage.storage_at(f"journal:///{journal}")
    with place.lock():
        journal.with_name("optuna.journal.claims.lock").unlink()  # as another one does


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("journal://host/x", "the address of a journal is journal:///FILE"),
        ("journal:///", "the address of a journal is journal:///FILE"),
        ("journal:x", "the address of a journal is journal:///FILE"),
        ("journal:////proc/none/x", "No such file or directory"),
        ("journal:///.", "Is a directory"),
    ],
)
def test_a_journal_that_cannot_be(address: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        opened(address, tmp_path)
    message = str(refused.value)
    assert message.startswith(f"hydra.sweeper.storage must be a storage that works, got {address}:")
    assert reason in message
    assert "\n" not in message


def test_a_mistyped_address_is_refused_before_anything_is_made(command: Command) -> None:
    outcome = command(*SEARCH, "hydra.sweeper.storage=journal://me:s3cret@host/x")
    assert outcome.code == 1
    assert "got journal://me:***@host/x: the address of a journal is" in outcome.err
    assert "s3cret" not in outcome.err
    assert list(outcome.folder.iterdir()) == []


def test_a_file_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Ada,")
    with pytest.raises(UserError) as refused:
        opened(f"journal:///{letter}", tmp_path)
    assert str(refused.value) == (
        f"hydra.sweeper.storage must be a journal of its own, got journal:///{letter},"
        " which belongs to another program; try journal:///optuna.journal"
    )
    assert letter.read_text() == "Dear Ada,"


def test_a_damaged_journal_is_named(study: SearchStudy, journal: Path, tmp_path: Path) -> None:
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:2], "{]\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.storage must be a storage that works"):
        opened(f"journal:///{journal}", tmp_path)
