"""Searches through the real command line: total trials, seeds, pruning, failures, finalists."""

import errno
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from commands import Command, Outcome
from mlflow import MlflowClient
from omegaconf import OmegaConf
from optuna.trial import TrialState
from studies import FINISHED

from kdsweep.common.files import read_json
from kdsweep.search.timeout import Deadline, SearchTimeout
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR
from kdsweep.tracking.run_dir import read_rows
from kdsweep.training import checkpoint
from kdsweep.training.student import Student

SEARCH = ["search=bayes", "hydra.sweeper.n_jobs=2", "search.finalists=0"]

SEARCH_FILES = {"sweep.json", "results.csv", "optimization_results.yaml"}


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, fresh_storage: Path) -> None:
    """Spares every search the creation of its database."""
    shutil.copy(fresh_storage, tmp_path / "optuna.db")


def study_of(outcome: Outcome) -> optuna.Study:
    """The only study in the folder."""
    storage = f"sqlite:///{outcome.folder}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def trial_files(folder: Path) -> dict[str, bytes]:
    """The files of a search's runs, by their paths."""
    paths = [path for path in folder.glob("multirun/mine/*/seed-*/**/*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def states(outcome: Outcome) -> list[str]:
    return [trial.state.name for trial in study_of(outcome).trials]


def results(outcome: Outcome) -> dict[str, dict[str, object]]:
    """Every run's result, by its place in the search: `3/seed-0`."""
    paths = outcome.folder.glob("multirun/*/*/seed-*/result.json")
    return {str(Path(*path.parts[-3:-1])): read_json(path) for path in sorted(paths)}


def artifacts(client: MlflowClient, run_id: str) -> set[str]:
    """The files of an MLflow run, also in its folders, without the predictions of teachers."""
    entries = list(client.list_artifacts(run_id))
    for entry in entries:
        entries += client.list_artifacts(run_id, entry.path) if entry.is_dir else []
    files = {entry.path for entry in entries if not entry.is_dir}
    return {path for path in files if not path.startswith(f"{TEACHER_PREDICTIONS_DIR}/")}


def weights(outcome: Outcome) -> dict[str, object]:
    """The digest of each run's weights, by its place in the search."""
    return {place: result["weights_sha256"] for place, result in results(outcome).items()}


def test_n_trials_is_a_total_and_a_finished_search_prints_its_results(
    command: Command, resumable: list[str], finished: Outcome
) -> None:
    again = command(*resumable)
    assert again.code == 0, again.err
    assert "epoch" not in again.err, "something was trained"
    assert "2 trials complete" in again.out
    assert weights(again) == weights(finished)
    more = command(*resumable, "hydra.sweeper.n_trials=3")
    assert states(more) == ["COMPLETE"] * 3
    assert weights(finished).items() <= weights(more).items()


def test_a_search_in_mlflow_is_a_tree_of_search_trial_and_run(finished: Outcome) -> None:
    client = MlflowClient(f"sqlite:///{finished.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    roles: dict[str, list[str]] = {}
    for run_id, run in runs.items():
        roles.setdefault(run.data.tags["kdsweep.role"], []).append(run_id)
    (search,), trials = roles["search"], roles["trial"]
    assert len(trials) == 2
    assert len(roles["run"]) == 4
    parent = "mlflow.parentRunId"
    assert {runs[trial].data.tags[parent] for trial in trials} == {search}
    assert {runs[run].data.tags[parent] for run in roles["run"]} == set(trials)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    best = [point.value for point in client.get_metric_history(search, "best")]
    assert best == sorted(best)
    assert len(best) == 2
    assert "space.T" in runs[search].data.params
    assert {"val/acc", "val/acc_sd", "seeds"} <= set(runs[trials[0]].data.metrics)
    assert artifacts(client, search) == SEARCH_FILES


@pytest.mark.slow
def test_the_plots_of_a_search_are_in_its_folder_and_on_its_run(command: Command) -> None:
    words = [*SEARCH, "tracking.plots=sweep", "hydra.sweeper.n_trials=4", "search.name=mine"]
    outcome = command(*words, "tracking=none", "trainer.epochs=1")
    assert outcome.code == 0, outcome.err
    page = outcome.folder / "multirun/mine/plots/search.html"
    assert str(page.relative_to(outcome.folder)) in outcome.out
    files = {f"plots/{path.name}" for path in page.parent.iterdir()}
    assert files >= {"plots/history.png", "plots/slice.png", "plots/contour.png"}
    for _ in range(2):  # the same search, now with MLflow; and once more, when it has ended
        page.unlink()
        again = command(*words, "trainer.epochs=1", tracking=True)
        assert again.code == 0, again.err
        client = MlflowClient(f"sqlite:///{outcome.folder}/mlflow.db")
        experiment = client.get_experiment_by_name("kdsweep")
        (search,) = client.search_runs([experiment.experiment_id], "tags.`kdsweep.role` = 'search'")
        assert search.info.status == "FINISHED"
        assert artifacts(client, search.info.run_id) == SEARCH_FILES | files


def test_the_objective_is_the_mean_over_the_seeds(finished: Outcome) -> None:
    by_place = results(finished)
    for trial in study_of(finished).trials:
        values = [by_place[f"{trial.number}/seed-{seed}"]["val/acc"] for seed in (3, 5)]
        assert trial.value == pytest.approx(sum(values) / 2)
        assert trial.user_attrs["seeds"] == {"3": values[0], "5": values[1]}


@pytest.mark.slow
def test_other_objectives_have_all_seeds_and_no_finalists(command: Command) -> None:
    loss = ["search.objectives=[val/loss]", "hydra.sweeper.direction=minimize"]
    words = ["search=bayes", "hydra.sweeper.n_trials=8", "trainer.epochs=1"]
    outcome = command(*words, *loss, "search.seeds=[0,1]", "search.finalists=3")
    assert outcome.code == 0, outcome.err
    assert sorted(results(outcome)) == [f"{n}/seed-{seed}" for n in range(8) for seed in (0, 1)]


@pytest.mark.slow
def test_finalists_are_run_again_with_seeds_that_chose_nothing(command: Command) -> None:
    words = ["search=bayes", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3"]
    outcome = command(*words, "search.finalists=2", "search.finalist_seeds=2")
    assert outcome.code == 0, outcome.err
    by_place = results(outcome)
    assert len(by_place) == 3 + 2 * 2
    fresh: dict[str, list[float]] = {}
    for place, result in by_place.items():
        if result["seed"] != 0:
            fresh.setdefault(place.split("/")[0], []).append(float(str(result["val/acc"])))
    ranked = sorted(study_of(outcome).trials, key=lambda trial: -(trial.value or 0))
    assert set(fresh) == {str(trial.number) for trial in ranked[:2]}
    (file,) = outcome.folder.glob("multirun/*/optimization_results.yaml")
    best = OmegaConf.load(file).best_value
    assert best == pytest.approx(max(sum(values) / 2 for values in fresh.values()))
    assert "fresh" in outcome.out


@pytest.mark.slow
def test_a_pruned_student_leaves_its_cohort_at_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[int, int] = {}
    step = Student.step

    def counted(self: Student, *arguments: object) -> None:
        steps[id(self)] = steps.get(id(self), 0) + 1
        step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Student, "step", counted)
    prune = ["search/pruner=median", "search.pruner.n_startup_trials=1"]
    outcome = command(
        *SEARCH,
        *prune,
        "search.pruner.n_warmup_steps=0",
        "hydra.sweeper.n_trials=8",
        "trainer.epochs=6",
        tracking=True,
    )
    assert outcome.code == 0, outcome.err
    pruned = [t for t in study_of(outcome).trials if t.state is TrialState.PRUNED]
    assert pruned, "nothing was pruned"
    runs = results(outcome)
    for trial in pruned:
        result = runs[f"{trial.number}/seed-0"]
        assert result["status"] == "PRUNED"
        assert result["epochs"] == trial.last_step < 6
        assert "pruned after epoch" in str(result["reason"])
    trained = sum(int(str(result["epochs"])) for result in runs.values())
    teacher = 9  # steps, where this test is the first to need it
    assert sum(steps.values()) <= trained * 5 + teacher, "pruned students were trained on"
    client = MlflowClient(f"sqlite:///{outcome.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    marked = client.search_runs([experiment.experiment_id], "tags.`kdsweep.pruned` = 'true'")
    roles = [run.data.tags["kdsweep.role"] for run in marked]
    assert sorted(roles) == sorted(["run", "trial"] * len(pruned))
    assert {run.info.status for run in marked} == {"KILLED"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pruner", "eager"),
    [
        ("hyperband", ["search.pruner.min_resource=1"]),
        ("wilcoxon", ["search.pruner.n_startup_steps=1", "search.pruner.p_threshold=0.4"]),
    ],
)
def test_other_pruners_prune_too(command: Command, pruner: str, eager: list[str]) -> None:
    words = [f"search/pruner={pruner}", *eager, "hydra.sweeper.n_trials=6", "trainer.epochs=6"]
    # Hyperband's brackets depend on the study's name, which else has the teachers' folder in it.
    outcome = command(*SEARCH, *words, f"search.name={pruner}")
    assert outcome.code == 0, outcome.err
    assert "Warning" not in outcome.err
    assert {"PRUNED", "COMPLETE"} == set(states(outcome))


@pytest.mark.ci
def test_failures_are_trials_with_a_reason_until_there_are_too_many(command: Command) -> None:
    words = [*SEARCH, "optimizer=sgd", "hydra.sweeper.n_trials=2", "trainer.epochs=1"]
    words += ["hydra.sweeper.sampler.seed=4"]  # draws each learning rate once
    outcome = command(*words, "optimizer.lr=choice(0.01,1e7)", "search.max_failures=1")
    assert outcome.code == 0, outcome.err
    failed, complete = study_of(outcome).trials
    assert (failed.state, complete.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert "non-finite" in failed.user_attrs["reason"]
    assert "1 trials complete, 0 pruned, 1 failed" in outcome.out


@pytest.mark.slow
def test_too_many_failures_end_the_search_with_the_reason(command: Command) -> None:
    space = "optimizer.lr=interval(1e6,1e7)"
    words = [*SEARCH, "optimizer=sgd", space, "hydra.sweeper.n_trials=8"]
    outcome = command(*words, "search.max_failures=3")
    assert outcome.code == 1
    assert "search.max_failures: 4 trials failed, more than 3" in outcome.err
    assert "non-finite" in outcome.err
    assert states(outcome) == ["FAIL"] * 4


@pytest.mark.slow
def test_a_search_without_a_complete_trial_has_no_result(command: Command) -> None:
    space = "optimizer.lr=interval(1e6,1e7)"
    words = [*SEARCH, "optimizer=sgd", "hydra.sweeper.n_trials=1", "trainer.epochs=1"]
    outcome = command(*words, space)
    assert outcome.code == 1
    assert "no trial of the search is complete" in outcome.err
    assert "non-finite" in outcome.err


@pytest.mark.slow
def test_equal_points_that_fail_or_are_pruned_end_alike(command: Command) -> None:
    failing = ["optimizer=sgd", "optimizer.lr=0.01,1e7", "T=2", "alpha=0.5"]
    prune = ["search/pruner=median", "search.pruner.n_startup_trials=1", "T=1,2,4,8", "alpha=0,1"]
    eager = ["search.pruner.n_warmup_steps=0", "trainer.epochs=6"]
    for name, words, state in (("f", failing, "FAIL"), ("p", [*prune, *eager], "PRUNED")):
        block = ["hydra.sweeper.n_jobs=4", "hydra.sweeper.n_trials=12", f"search.name={name}"]
        outcome = command(*SEARCH, *words, *block, f"hydra.sweeper.storage=sqlite:///{name}.db")
        assert outcome.code == 0, outcome.err
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{outcome.folder}/{name}.db")
        ends: dict[str, set[str]] = {}
        for trial in study.trials:
            ends.setdefault(str(trial.params), set()).add(trial.state.name)
        assert all(len(states) == 1 for states in ends.values())
        assert {state} in ends.values()
        assert len(ends) < 12, "no point was drawn twice"


@pytest.mark.slow
def test_finalists_are_different_cells(command: Command) -> None:
    words = ["T=1,2", "alpha=0.1,0.9", "search.finalists=3", "search.finalist_seeds=1"]
    outcome = command("search=bayes", "hydra.sweeper.n_jobs=4", "hydra.sweeper.n_trials=12", *words)
    assert outcome.code == 0, outcome.err
    fresh = [r for place, r in results(outcome).items() if place.endswith("seed-1")]
    assert len(fresh) == 3
    assert len({(r["T"], r["alpha"]) for r in fresh}) == 3


@pytest.mark.slow
def test_a_search_over_losses_suggests_only_keys_with_an_effect(command: Command) -> None:
    space = ["loss=choice(ce,kl,fitnet)", "loss.fitnet.weight=tag(log,interval(1.0,100.0))"]
    outcome = command(*SEARCH, *space, "alpha=0.5", "hydra.sweeper.n_trials=6")
    assert outcome.code == 0, outcome.err
    keys = {"ce": {"loss"}, "kl": {"loss", "T"}, "fitnet": {"loss", "loss.fitnet.weight"}}
    for trial in study_of(outcome).trials:
        assert trial.state is TrialState.COMPLETE
        assert set(trial.params) == keys[trial.params["loss"]]
    ce = [r for r in results(outcome).values() if r["loss"] == "ce"]
    assert len({r["weights_sha256"] for r in ce}) <= 1
    assert sum(r["same_as"] is None for r in ce) <= 1, "an equal point was trained twice"


@pytest.mark.slow
def test_a_changed_space_is_refused_with_both(command: Command, resumable: list[str]) -> None:
    changed = command(*resumable, "T=tag(log,interval(1.0,32.0))")
    assert changed.code == 1
    assert (
        "T of the search mine must stay tag(log, interval(1.0, 16.0)), got tag(log, interval(1.0,"
        " 32.0)); another search.name begins another search"
    ) in changed.err
    assert "Traceback" not in changed.err


@pytest.mark.slow
def test_trials_of_another_search_of_this_name_are_not_taken(
    command: Command, resumable: list[str], finished: Outcome, fresh_storage: Path
) -> None:
    shutil.copy(fresh_storage, "optuna.db")  # without the trials
    again = command(*resumable, "T=interval(5,8)")
    assert again.code == 1
    assert "search.name must be another one, or multirun/mine/0/seed-3 be moved away" in again.err
    assert "Traceback" not in again.err
    assert trial_files(again.folder) == trial_files(finished.folder)


OTHERS = {
    "trainer.epochs=3": "trainer.epochs of the search mine must stay 2, got 3",
    "hydra/sweeper/sampler=random": "sampler._target_ of the search mine must stay optuna.s",
    "search/pruner=median": "search.pruner._target_ of the search mine must stay optuna.prun",
}


@pytest.mark.slow
def test_another_search_under_the_same_name_is_refused(
    command: Command, resumable: list[str]
) -> None:
    for word, message in OTHERS.items():
        changed = command(*resumable, word)
        assert changed.code == 1, word
        assert message in changed.err
        assert "another search.name begins another search" in changed.err
        assert "Traceback" not in changed.err


@pytest.mark.slow
def test_how_much_is_searched_may_change(command: Command, resumable: list[str]) -> None:
    more = ["search.timeout=1h", "search.max_failures=3", "search.finalists=1"]
    again = command(*resumable, *more, "search.finalist_seeds=1", "hydra.sweeper.n_trials=3")
    assert again.code == 0, again.err
    assert states(again) == ["COMPLETE"] * 3


@pytest.mark.slow
def test_no_pruner_at_all_is_no_pruner(command: Command) -> None:
    outcome = command(*SEARCH, "search.pruner=null", "hydra.sweeper.n_trials=8", "trainer.epochs=3")
    assert outcome.code == 0, outcome.err
    assert states(outcome) == ["COMPLETE"] * 8


@pytest.mark.slow
def test_methods_are_searched_with_the_keys_of_each(command: Command) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=10", "hydra.sweeper.n_jobs=10"]
    outcome = command(*(word for word in words if word != "search=bayes"), "search=methods")
    assert outcome.code == 0, outcome.err
    keys = {
        "kl": {"T", "alpha"},
        "soft_ce": {"T", "alpha"},
        "mse": {"alpha"},
        "fitnet": {"loss.fitnet.weight"},
        "[kl,fitnet]": {"T", "alpha", "loss.fitnet.weight"},
    }
    trials = study_of(outcome).trials
    assert len({trial.params["loss"] for trial in trials}) > 2
    for trial in trials:
        assert set(trial.params) == {"loss", *keys[trial.params["loss"]]}


def press_ctrl_c(patch: pytest.MonkeyPatch) -> None:
    step = Student.step

    def interrupted(self: Student, *arguments: object) -> None:
        if self.epoch == 1:
            raise KeyboardInterrupt
        step(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(Student, "step", interrupted)


def exceed_the_timeout(patch: pytest.MonkeyPatch) -> None:
    # Only the clock of the search runs fast: MLflow still gets the seconds to close the runs.
    seconds = count()
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    patch.setattr("kdsweep.search.timeout.time", clock)


def fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    patch.setattr(checkpoint, "save", full)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interrupt", "timeout", "code", "message"),
    [
        (press_ctrl_c, "1h", 130, ""),
        (exceed_the_timeout, "1s", 0, "search.timeout=1s is over"),
        (fill_the_disk, "1h", 1, "make room"),
    ],
)
def test_an_interrupted_search_is_resumed_to_the_same_weights(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    finished: Outcome,
    interrupt: Callable[[pytest.MonkeyPatch], None],
    timeout: str,
    code: int,
    message: str,
) -> None:
    words = [*FINISHED, "tracking.checkpoint_seconds=0"]
    with monkeypatch.context() as patch:
        interrupt(patch)
        stopped = command(*words, f"search.timeout={timeout}", tracking=True)
    assert stopped.code == code, stopped.err
    assert message in stopped.err
    assert "Traceback" not in stopped.err
    if interrupt is not fill_the_disk:  # its message is that of every sweep
        assert "resume" not in stopped.err
    assert "0 trials complete" in stopped.out
    assert "stopped, of 2 trials in all; the same command resumes it" in stopped.out
    assert states(stopped) == ["RUNNING", "RUNNING"]
    assert "RUNNING" not in run_statuses(stopped)
    if interrupt is fill_the_disk:
        assert "is full" in stopped.err
    else:
        assert "KILLED" in run_statuses(stopped)
    again = command(*words, tracking=True)
    assert again.code == 0, again.err
    assert states(again) == ["COMPLETE"] * 2
    assert run_statuses(again) == {"FINISHED"}
    assert weights(again) == weights(finished)


def run_statuses(outcome: Outcome) -> set[str]:
    """The statuses of all runs in MLflow."""
    client = MlflowClient(f"sqlite:///{outcome.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    return {run.info.status for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.slow
def test_a_timeout_keeps_the_last_epoch_of_every_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over when the first of two runs has recorded its second epoch."""
    runs = [Path(f"multirun/mine/{trial}/seed-0") for trial in (0, 1)]

    def is_over(self: Deadline) -> None:
        if any(len(read_rows(run)) == 2 for run in runs):
            raise SearchTimeout(0)

    monkeypatch.setattr(Deadline, "check", is_over)
    words = ["hydra.sweeper.n_trials=2", "search.name=mine", "search/pruner=median"]
    words += ["trainer.epochs=4", "tracking.checkpoint_seconds=1000"]
    outcome = command(*SEARCH, *words)
    assert outcome.code == 0, outcome.err
    assert [len(read_rows(run)) for run in runs] == [2, 2]
    kept = [[path.stem for path in run.glob("checkpoint/*.safetensors")] for run in runs]
    assert kept == [["epoch-0002"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("role", ["teacher", "stage"])
def test_a_timeout_reaches_what_is_trained_before_the_trials(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str
) -> None:
    """It ends at an epoch's end, and is resumed from there to the same bits."""
    before = {
        "teacher": ["teacher.trainer.epochs=6"],
        "stage": ["stages=hints", "stages.hints.epochs=6", "student=cnn", "student.model.width=4"],
    }[role]
    words = [*SEARCH, *before, "hydra.sweeper.n_trials=1", "trainer.epochs=1"]

    def searched(name: str, *more: str) -> Outcome:
        return command(*words, f"search.name={name}", f"teacher.store={tmp_path}/{name}", *more)

    def all_weights(name: str) -> list[object]:
        folders = [*tmp_path.glob(f"{name}/*/result.json")]
        folders += tmp_path.glob(f"multirun/{name}/**/result.json")
        return sorted(read_json(path)["weights_sha256"] for path in folders)

    assert searched("whole").code == 0
    with monkeypatch.context() as patch:
        from kdsweep.tracking.run_dir import RESULT

        checks = iter(range(100))

        def third(self: Deadline) -> None:
            if next(checks) == (2 if role == "teacher" else 3):  # the tiny teacher has one epoch
                raise SearchTimeout(0)

        patch.setattr(Deadline, "check", third)
        stopped = searched("stopped", "search.timeout=4s")
        assert stopped.code == 0, stopped.err
        assert "search.timeout=4s is over" in stopped.err
        assert "the same command resumes it" in stopped.out
        places = {"teacher": "stopped/*", "stage": "multirun/stopped/stage-*"}
        (folder,) = (path.parent for path in tmp_path.glob(f"{places[role]}/{RESULT}"))
        assert read_json(folder / RESULT)["status"] == "KILLED"
        assert [path.stem for path in folder.glob("checkpoint/*.safetensors")] == ["epoch-0003"]
    again = searched("stopped")
    assert again.code == 0, again.err
    assert all_weights("stopped") == all_weights("whole")
    assert len(all_weights("whole")) == (2 if role == "teacher" else 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["hydra/sweeper=kdsweep", "hydra/sweeper/sampler=random", "T=interval(1,4)"],
        *(
            [f"hydra/sweeper/sampler={name}", "search=bayes"]
            for name in ("gp", "cmaes", "nsgaii", "qmc")
        ),
    ],
)
def test_other_samplers_search_also_without_an_option_of_the_search_group(
    command: Command, words: list[str]
) -> None:
    few = ["hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3", "trainer.epochs=1"]
    outcome = command(*words, "search.finalists=0", *few)
    assert outcome.code == 0, outcome.err
    points = {tuple(trial.params.values()) for trial in study_of(outcome).trials}
    assert len(points) == 3


@pytest.mark.slow
def test_a_grid_is_searched_once_and_in_positions(command: Command) -> None:
    words = ["hydra/sweeper/sampler=grid", "T=1,2,4", "alpha=0.1,0.9", "hydra.sweeper.n_trials=99"]
    outcome = command(*SEARCH, *words)
    assert outcome.code == 0, outcome.err
    points = {(r["T"], r["alpha"]) for r in results(outcome).values()}
    assert points == {(T, alpha) for T in (1.0, 2.0, 4.0) for alpha in (0.1, 0.9)}
    assert states(outcome) == ["COMPLETE"] * 6


@pytest.mark.slow
def test_two_objectives_end_in_the_trials_that_no_other_dominates(command: Command) -> None:
    outcome = command(
        *SEARCH,
        "hydra.sweeper.direction=[maximize,minimize]",
        "search.objectives=[val/acc,num_params]",
        "student.model.width=choice(4,8,16)",
        "hydra.sweeper.n_trials=6",
    )
    assert outcome.code == 0, outcome.err
    study = study_of(outcome)
    (file,) = outcome.folder.glob("multirun/*/optimization_results.yaml")
    solutions = OmegaConf.load(file).solutions
    assert [list(s["values"]) for s in solutions] == [t.values for t in study.best_trials]
    assert {s.params["student.model.width"] for s in solutions} <= {4, 8, 16}


@pytest.mark.slow
def test_a_student_s_latency_may_be_an_objective(command: Command) -> None:
    outcome = command(
        *SEARCH,
        "hydra.sweeper.direction=[maximize,minimize]",
        "search.objectives=[val/acc,latency_ms]",
        "student=choice(mlp,cnn)",
        "hydra.sweeper.n_trials=4",
    )
    assert outcome.code == 0, outcome.err
    by_place = results(outcome)
    for trial in study_of(outcome).trials:
        result = by_place[f"{trial.number}/seed-0"]
        assert trial.values == [result["val/acc"], result["latency_ms"]]
        assert float(str(result["latency_ms"])) > 0
