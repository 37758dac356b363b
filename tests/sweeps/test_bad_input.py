"""Bad input: one sentence with key, value and what is allowed, exit code 1, nothing trained."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from commands import Command, Refusal, Specs

from kdsweep.config.overrides import keys_without_effect
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.runs.preflight import refuse_without_validation
from kdsweep.tracking.console import Progress


def refused(command: Command, *words: str, **options: bool) -> str:
    """Run a command that must be refused, and return its sentence."""
    outcome = command(*words, **options)
    assert outcome.code == 1, outcome.out
    assert "Traceback" not in outcome.err + outcome.out, outcome.err
    begun = [*outcome.folder.glob("multirun/**/run.json"), *outcome.folder.glob("**/.kdsweep")]
    assert not begun, "a refused command left a sweep behind"
    return outcome.err


ALL_AT_ONCE = {
    "T=0": "T must be a number from 1e-6 to 1e6, got 0",
    "alpha=2": "alpha must be a number in [0, 1], got 2",
    "trainer.epochs=0": "trainer.epochs must be at least 1, got 0",
    "teacher.trainer.epochs=0": "teacher.trainer.epochs must be at least 1, got 0",
    "tracking.plots=all": "tracking.plots must be run | sweep | none, got all",
}


def test_all_wrong_values_are_named_at_once(command: Command) -> None:
    sentences = refused(command, *ALL_AT_ONCE)
    assert sorted(sentences.splitlines()) == sorted(ALL_AT_ONCE.values())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["search.seeds=[0,1]"], "search.seeds must be left out unless search=bayes searches"),
        (["loss=null"], "loss must name at least one option"),
        (["hydra.launcher.cohort_size=0"], "cohort_size must be null or at least 1, got 0"),
        (["hydra/launcher=basic", "dry_run=true"], "dry_run=true needs hydra/launcher=lockstep"),
        (["hydra/launcher=basic", "resume=true"], "resume=true needs hydra.sweep.dir=FOLDER"),
    ],
)
def test_values(command: Command, words: list[str], sentence: str) -> None:
    assert sentence in refused(command, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["loss=nope"], "loss must be one of ab, at, cat_kd,"),
        (["student=nope"], "student must be one of "),
        (["sed=1"], "sed must be a key of the config, got sed=1; did you mean seed?"),
        (["dataset.vall_fraction=0.1"], "; did you mean dataset.val_fraction?"),
        (["trainer.epochs=ten"], "trainer.epochs must be an integer, got ten"),
        (["T=warm"], "T must be a number, got warm"),
        (["search=nope"], "search must be one of bayes, methods, got nope"),
    ],
)
def test_names_and_types(command: Command, words: list[str], sentence: str) -> None:
    assert sentence in refused(command, *words)


def test_a_message_is_printed_once_and_names_the_runs(specs: Specs) -> None:
    with pytest.raises(UserError) as caught:
        specs(*([f"T={T}", f"alpha={alpha}"] for T in (-1, 4) for alpha in (0.1, 2)))
    sentence = str(caught.value)
    assert sentence.count("T must be") == sentence.count("alpha must be") == 1
    assert (
        "T must be a number from 1e-6 to 1e6, got -1 (run 0: T=-1 alpha=0.1; run 1: T=-1"
        in sentence
    )


@pytest.mark.ci
def test_a_swept_key_without_effect_is_named(command: Command) -> None:
    assert "T must change some run of the sweep" in refused(command, "loss=ce", "T=1,4")


@pytest.mark.parametrize(
    ("jobs", "idle"),
    [
        ([["loss=fitnet", "alpha=0.1"], ["loss=fitnet", "alpha=0.9"]], ["alpha"]),
        ([[f"loss={loss}", f"T={T}"] for loss in ("ce", "kl") for T in (1, 4)], []),
    ],
)
def test_a_swept_key_has_an_effect_if_it_changes_some_run(
    specs: Specs, jobs: list[list[str]], idle: list[str]
) -> None:
    assert keys_without_effect(jobs, [run.fingerprint for run in specs(*jobs)]) == idle


@pytest.mark.slow
def test_a_folder_named_in_a_refused_command_is_free_again(command: Command) -> None:
    refused(command, "hydra.sweep.dir=mine", "T=0")
    assert command("hydra.sweep.dir=mine", "T=1", "loss=kl").code == 0


@pytest.mark.slow
def test_a_stock_launcher_never_overwrites_another_run(command: Command) -> None:
    words = ["hydra/launcher=basic", "hydra.sweep.dir=mine"]
    first = command("T=1", *words)
    assert first.code == 0, first.err
    second = command("T=9", *words)
    assert second.code == 1
    assert "hydra.sweep.dir must be a folder of its own" in second.err
    again = command("T=1", *words, "resume=true")
    assert again.code == 0, again.err
    assert "epoch" not in again.err, "a finished run was trained again"


NO_VALIDATION = "dataset.val_fraction must be > 0 in a search, got 0"


def test_what_is_searched_needs_validation(specs: Specs) -> None:
    with (
        closing(TrainingContext({"uri": None}, Progress())) as context,
        pytest.raises(UserError, match=NO_VALIDATION),
    ):
        refuse_without_validation(specs(["dataset.val_fraction=0"]), context.dataset)


@pytest.mark.slow
def test_a_search_needs_validation(command: Command) -> None:
    assert NO_VALIDATION in refused(command, "search=bayes", "dataset.val_fraction=0")


def test_debug_shows_the_traceback(command: Command) -> None:
    outcome = command("T=-1", "debug=true")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "T must be a number from 1e-6 to 1e6, got -1" in outcome.err


def test_an_output_folder_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    # CI runs as root, whom permissions do not stop; nobody can make a folder inside a file.
    (tmp_path / "file").touch()
    sentence = refused(command, f"hydra.sweep.dir={tmp_path}/file/sweep")
    assert "hydra.sweep.dir must be a folder that can be written" in sentence


def test_a_store_of_teachers_that_cannot_be_written(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = refusal(f"teacher.store={tmp_path}/file/teachers")
    assert "teacher.store must be a folder that can be written" in sentence


@pytest.mark.slow
def test_a_newer_mlflow_database(command: Command, tmp_path: Path, fresh_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_database.read_bytes())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    connection.close()
    assert "tracking.uri must be" in refused(command, tracking=True)


@pytest.mark.slow
def test_a_locked_mlflow_database(command: Command, tmp_path: Path, fresh_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_database.read_bytes())
    connection = sqlite3.connect(path)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        assert "tracking.uri must be" in refused(command, tracking=True)
    finally:
        connection.close()
