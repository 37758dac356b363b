"""Searches through the real command line: total trials, seeds, pruning, failures, finalists."""

import errno
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from commands import Command, Outcome
from mlflow import MlflowClient
from omegaconf import OmegaConf
from optuna.trial import TrialState

from kdsweep.common.files import read_json
from kdsweep.search.timeout import Clock, TimeIsUp
from kdsweep.tracking.predictions import TEACHER_PREDICTIONS_DIR
from kdsweep.tracking.run_dir import read_rows
from kdsweep.training import checkpoint
from kdsweep.training.student import Student

SEARCH = ["search=bayes", "hydra.sweeper.n_jobs=2", "search.finalists=0", "tracking.plots=none"]

ANSWER = {"sweep.json", "results.csv", "optimization_results.yaml"}


def study_of(outcome: Outcome) -> optuna.Study:
    """The only study in the folder."""
    storage = f"sqlite:///{outcome.folder}/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def states(outcome: Outcome) -> list[str]:
    return [trial.state.name for trial in study_of(outcome).trials]


def results(outcome: Outcome) -> dict[str, dict[str, object]]:
    """Every run's result, by its place in the search: `3/seed-0`."""
    paths = outcome.folder.glob("multirun/*/*/seed-*/result.json")
    return {str(Path(*path.parts[-3:-1])): read_json(path) for path in sorted(paths)}


def artifacts(client: MlflowClient, run_id: str) -> set[str]:
    """The files of an MLflow run, those in its folders included, but for what teachers said."""
    found = list(client.list_artifacts(run_id))
    for entry in found:
        found += client.list_artifacts(run_id, entry.path) if entry.is_dir else []
    files = {entry.path for entry in found if not entry.is_dir}
    return {path for path in files if not path.startswith(f"{TEACHER_PREDICTIONS_DIR}/")}


def test_n_trials_is_a_total_and_a_finished_search_says_its_answer(command: Command) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=4"]
    first = command(*words)
    assert first.code == 0, first.err
    weights = {place: result["weights_sha256"] for place, result in results(first).items()}
    assert len(weights) == 4
    again = command(*words)
    assert again.code == 0, again.err
    assert "epochs" not in again.err, "something was trained"
    assert "4 trials complete" in again.out
    assert {place: r["weights_sha256"] for place, r in results(again).items()} == weights
    more = command(*SEARCH, "hydra.sweeper.n_trials=5")
    assert states(more) == ["COMPLETE"] * 5
    assert weights.items() <= {p: r["weights_sha256"] for p, r in results(more).items()}.items()


def test_a_search_in_mlflow_is_a_tree_of_search_trial_and_run(command: Command) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=2", "search.seeds=[0,1]"]
    outcome = command(*words, tracking=True)
    assert outcome.code == 0, outcome.err
    client = MlflowClient(f"sqlite:///{outcome.folder}/mlflow.db")
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
    assert artifacts(client, search) == ANSWER


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
        assert artifacts(client, search.info.run_id) == ANSWER | files


def test_the_objective_is_the_mean_over_the_seeds(command: Command) -> None:
    outcome = command(*SEARCH, "hydra.sweeper.n_trials=2", "search.seeds=[3,5]")
    assert outcome.code == 0, outcome.err
    found = results(outcome)
    for trial in study_of(outcome).trials:
        runs = [found[f"{trial.number}/seed-{seed}"] for seed in (3, 5)]
        values = [run["val/acc"] for run in runs]
        assert trial.value == pytest.approx(sum(values) / 2)
        assert trial.user_attrs["seeds"] == {"3": values[0], "5": values[1]}


@pytest.mark.slow
def test_other_objectives_have_all_seeds_and_no_finalists(command: Command) -> None:
    loss = ["search.objectives=[val/loss]", "hydra.sweeper.direction=minimize"]
    words = ["search=bayes", "hydra.sweeper.n_trials=8", "trainer.epochs=1", "tracking.plots=none"]
    outcome = command(*words, *loss, "search.seeds=[0,1]", "search.finalists=3")
    assert outcome.code == 0, outcome.err
    assert sorted(results(outcome)) == [f"{n}/seed-{seed}" for n in range(8) for seed in (0, 1)]


@pytest.mark.slow
def test_finalists_are_run_again_with_seeds_that_chose_nothing(command: Command) -> None:
    words = ["search=bayes", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3"]
    outcome = command(*words, "search.finalists=2", "search.finalist_seeds=2")
    assert outcome.code == 0, outcome.err
    found = results(outcome)
    assert len(found) == 3 + 2 * 2
    fresh: dict[str, list[float]] = {}
    for place, result in found.items():
        if result["seed"] != 0:
            fresh.setdefault(place.split("/")[0], []).append(float(str(result["val/acc"])))
    ranked = sorted(study_of(outcome).trials, key=lambda trial: -(trial.value or 0))
    assert set(fresh) == {str(trial.number) for trial in ranked[:2]}
    (answer,) = outcome.folder.glob("multirun/*/optimization_results.yaml")
    best = OmegaConf.load(answer).best_value
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
    assert sum(steps.values()) <= trained * 5 + teacher, "pruned students went on training"
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
    outcome = command(*SEARCH, *words)
    assert outcome.code == 0, outcome.err
    assert "Warning" not in outcome.err
    assert {"PRUNED", "COMPLETE"} == set(states(outcome))


def test_failures_are_trials_with_a_reason_until_there_are_too_many(command: Command) -> None:
    words = [*SEARCH, "optimizer=sgd", "student.model.width=8", "hydra.sweeper.n_trials=6"]
    space = "optimizer.lr=choice(0.01,1e7)"
    outcome = command(*words, space, "hydra.sweeper.sampler.seed=1", "search.max_failures=6")
    assert outcome.code == 0, outcome.err
    failed = [t for t in study_of(outcome).trials if t.state is TrialState.FAIL]
    assert failed, "nothing failed"
    assert all("non-finite" in trial.user_attrs["reason"] for trial in failed)
    assert f"{len(failed)} failed" in outcome.out


@pytest.mark.slow
def test_too_many_failures_end_the_search_with_the_reason(command: Command) -> None:
    space = "optimizer.lr=interval(1e6,1e7)"
    words = [*SEARCH, "optimizer=sgd", space, "hydra.sweeper.n_trials=8"]
    outcome = command(*words, "search.max_failures=3")
    assert outcome.code == 1
    assert "search.max_failures: 4 trials failed, more than 3" in outcome.err
    assert "non-finite" in outcome.err
    assert states(outcome) == ["FAIL"] * 4


def test_a_search_without_a_complete_trial_has_no_answer(command: Command) -> None:
    space = "optimizer.lr=interval(1e6,1e7)"
    outcome = command(*SEARCH, "optimizer=sgd", space, "hydra.sweeper.n_trials=2")
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
def test_a_full_disk_parks_the_block_and_the_next_start_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=2", "tracking.checkpoint_seconds=0"]
    whole = command(*words, "search.name=whole")
    assert whole.code == 0, whole.err

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        stopped = command(*words, "search.name=parked")
    assert stopped.code == 1
    assert "is full" in stopped.err
    assert "make room" in stopped.err
    assert "Traceback" not in stopped.err
    assert "the same command goes on" in stopped.out
    assert command(*words, "search.name=parked").code == 0

    def weights(name: str) -> list[object]:
        paths = sorted(whole.folder.glob(f"multirun/{name}/*/seed-*/result.json"))
        return [read_json(path)["weights_sha256"] for path in paths]

    assert weights("parked") == weights("whole")
    assert None not in weights("parked")


@pytest.mark.slow
def test_finalists_are_different_cells(command: Command) -> None:
    words = ["T=1,2", "alpha=0.1,0.9", "search.finalists=3", "search.finalist_seeds=1"]
    outcome = command("search=bayes", "hydra.sweeper.n_jobs=4", "hydra.sweeper.n_trials=12", *words)
    assert outcome.code == 0, outcome.err
    fresh = [r for place, r in results(outcome).items() if place.endswith("seed-1")]
    assert len(fresh) == 3
    assert len({(r["T"], r["alpha"]) for r in fresh}) == 3


@pytest.mark.slow
def test_a_search_over_losses_asks_each_only_what_it_listens_to(command: Command) -> None:
    space = ["loss=choice(ce,kl,fitnet)", "loss.fitnet.weight=tag(log,interval(1.0,100.0))"]
    outcome = command(*SEARCH, *space, "alpha=0.5", "hydra.sweeper.n_trials=6")
    assert outcome.code == 0, outcome.err
    asked = {"ce": {"loss"}, "kl": {"loss", "T"}, "fitnet": {"loss", "loss.fitnet.weight"}}
    for trial in study_of(outcome).trials:
        assert trial.state is TrialState.COMPLETE
        assert set(trial.params) == asked[trial.params["loss"]]
    found = results(outcome)
    ce = [r for r in found.values() if r["loss"] == "ce"]
    assert len({r["weights_sha256"] for r in ce}) <= 1
    assert sum(r["same_as"] is None for r in ce) <= 1, "an equal point was trained twice"


def test_a_changed_space_is_refused_with_both(command: Command) -> None:
    words = [*SEARCH, "search.name=mine", "hydra.sweeper.n_trials=2"]
    assert command(*words).code == 0
    changed = command(*words, "T=tag(log,interval(1.0,32.0))")
    assert changed.code == 1
    assert "space of the search mine must stay" in changed.err
    assert "16.0" in changed.err
    assert "32.0" in changed.err
    assert "Traceback" not in changed.err


OTHERS = {
    "trainer.epochs=3": "trainer.epochs of the search mine must stay 2, got 3",
    "hydra/sweeper/sampler=random": "sampler._target_ of the search mine must stay optuna.s",
    "search/pruner=median": "search.pruner._target_ of the search mine must stay optuna.prun",
}


@pytest.mark.slow
def test_another_search_under_the_same_name_is_refused(command: Command) -> None:
    words = [*SEARCH, "search.name=mine", "hydra.sweeper.n_trials=1", "trainer.epochs=2"]
    assert command(*words).code == 0
    for word, sentence in OTHERS.items():
        changed = command(*words, word)
        assert changed.code == 1, word
        assert sentence in changed.err
        assert "another search.name begins another search" in changed.err
        assert "Traceback" not in changed.err


@pytest.mark.slow
def test_how_much_is_searched_may_change(command: Command) -> None:
    words = [*SEARCH, "search.name=mine"]
    assert command(*words, "hydra.sweeper.n_trials=1").code == 0
    more = ["search.timeout=1h", "search.max_failures=3", "search.finalists=1"]
    again = command(*words, *more, "search.finalist_seeds=1", "hydra.sweeper.n_trials=2")
    assert again.code == 0, again.err
    assert states(again) == ["COMPLETE"] * 2


def test_what_the_loss_does_not_follow_is_not_searched(command: Command) -> None:
    outcome = command(*SEARCH, "loss=mse", "hydra.sweeper.n_trials=2")
    assert outcome.code == 0, outcome.err
    assert {key for trial in study_of(outcome).trials for key in trial.params} == {"alpha"}


@pytest.mark.slow
def test_no_pruner_at_all_is_no_pruner(command: Command) -> None:
    outcome = command(*SEARCH, "search.pruner=null", "hydra.sweeper.n_trials=8", "trainer.epochs=3")
    assert outcome.code == 0, outcome.err
    assert states(outcome) == ["COMPLETE"] * 8


@pytest.mark.slow
def test_methods_are_searched_with_what_each_listens_to(command: Command) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=10", "hydra.sweeper.n_jobs=10"]
    outcome = command(*(word for word in words if word != "search=bayes"), "search=methods")
    assert outcome.code == 0, outcome.err
    asked = {
        "kl": {"T", "alpha"},
        "soft_ce": {"T", "alpha"},
        "mse": {"alpha"},
        "fitnet": {"loss.fitnet.weight"},
        "[kl,fitnet]": {"T", "alpha", "loss.fitnet.weight"},
    }
    found = study_of(outcome).trials
    assert len({trial.params["loss"] for trial in found}) > 2
    for trial in found:
        assert set(trial.params) == {"loss", *asked[trial.params["loss"]]}


@pytest.mark.slow
def test_a_timeout_parks_what_is_open_and_the_next_start_finishes_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=2", "trainer.epochs=4"]
    whole = command(*words, "search.name=whole")
    with monkeypatch.context() as patch:
        # Only the search's own clock runs fast: MLflow gets the seconds to hear of the end.
        seconds = count()
        patch.setattr(
            "kdsweep.search.timeout.time", SimpleNamespace(monotonic=lambda: next(seconds))
        )
        parked = command(*words, "search.name=parked", "search.timeout=4s", tracking=True)
    assert parked.code == 0, parked.err
    assert "search.timeout" in parked.err + parked.out
    assert "0 trials complete" in parked.out
    assert "stopped, of 2 trials in all; the same command goes on" in parked.out
    client = MlflowClient(f"sqlite:///{parked.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    assert "RUNNING" not in {r.info.status for r in client.search_runs([experiment.experiment_id])}
    assert command(*words, "search.name=parked", tracking=True).code == 0

    def weights(name: str) -> list[object]:
        paths = sorted(whole.folder.glob(f"multirun/{name}/*/seed-*/result.json"))
        return [read_json(path)["weights_sha256"] for path in paths]

    assert weights("parked") == weights("whole") != []


def test_a_timeout_keeps_the_last_epoch_of_every_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over when the first of two runs has recorded its second epoch."""
    runs = [Path(f"multirun/mine/{trial}/seed-0") for trial in (0, 1)]

    def is_over(self: Clock) -> None:
        if any(len(read_rows(run)) == 2 for run in runs):
            raise TimeIsUp(0)

    monkeypatch.setattr(Clock, "stop_in_time", is_over)
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
    """It ends at an epoch's end, and goes on from there to the same bits."""
    before = {
        "teacher": ["teacher.trainer.epochs=6"],
        "stage": ["stages=hints", "stages.hints.epochs=6", "student=cnn", "student.model.width=4"],
    }[role]
    words = [*SEARCH, *before, "hydra.sweeper.n_trials=1", "trainer.epochs=1"]

    def searched(name: str, *more: str) -> Outcome:
        return command(*words, f"search.name={name}", f"teacher.store={tmp_path}/{name}", *more)

    def weights(name: str) -> list[object]:
        folders = [*tmp_path.glob(f"{name}/*/result.json")]
        folders += tmp_path.glob(f"multirun/{name}/**/result.json")
        return sorted(read_json(path)["weights_sha256"] for path in folders)

    assert searched("whole").code == 0
    with monkeypatch.context() as patch:
        from kdsweep.tracking.run_dir import RESULT

        asked = iter(range(100))

        def third(self: Clock) -> None:
            if next(asked) == (2 if role == "teacher" else 3):  # the tiny teacher has one epoch
                raise TimeIsUp(0)

        patch.setattr(Clock, "stop_in_time", third)
        parked = searched("parked", "search.timeout=4s")
        assert parked.code == 0, parked.err
        assert "search.timeout=4s is over" in parked.err
        assert "the same command goes on" in parked.out
        places = {"teacher": "parked/*", "stage": "multirun/parked/stage-*"}
        (folder,) = (path.parent for path in tmp_path.glob(f"{places[role]}/{RESULT}"))
        assert read_json(folder / RESULT)["status"] == "KILLED"
        assert [path.stem for path in folder.glob("checkpoint/*.safetensors")] == ["epoch-0003"]
    again = searched("parked")
    assert again.code == 0, again.err
    assert weights("parked") == weights("whole")
    assert len(weights("whole")) == (2 if role == "teacher" else 3)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "sampler",
    ["random", *(pytest.param(name, marks=SLOW) for name in ("gp", "cmaes", "nsgaii", "qmc"))],
)
def test_other_samplers_search(command: Command, sampler: str) -> None:
    outcome = command(*SEARCH, f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=3")
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
def test_two_objectives_end_in_the_trials_that_no_other_beats(command: Command) -> None:
    outcome = command(
        *SEARCH,
        "hydra.sweeper.direction=[maximize,minimize]",
        "search.objectives=[val/acc,num_params]",
        "student.model.width=choice(4,8,16)",
        "hydra.sweeper.n_trials=6",
    )
    assert outcome.code == 0, outcome.err
    study = study_of(outcome)
    (answer,) = outcome.folder.glob("multirun/*/optimization_results.yaml")
    solutions = OmegaConf.load(answer).solutions
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
    found = results(outcome)
    for trial in study_of(outcome).trials:
        result = found[f"{trial.number}/seed-0"]
        assert trial.values == [result["val/acc"], result["latency_ms"]]
        assert float(str(result["latency_ms"])) > 0


def test_ctrl_c_parks_the_search_and_the_next_start_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SEARCH, "hydra.sweeper.n_trials=4", "search.name=mine"]
    step = Student.step

    def until(self: Student, *arguments: object) -> None:
        if self.epoch == 1:
            raise KeyboardInterrupt
        step(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Student, "step", until)
        stopped = command(*words, tracking=True)
    assert stopped.code == 130
    assert "0 trials complete" in stopped.out
    assert "the same command goes on" in stopped.out
    assert "resume" not in stopped.err
    assert states(stopped) == ["RUNNING", "RUNNING"]
    client = MlflowClient(f"sqlite:///{stopped.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("kdsweep")
    status = {r.info.status for r in client.search_runs([experiment.experiment_id])}
    assert "KILLED" in status
    assert "RUNNING" not in status
    assert command(*words, tracking=True).code == 0
    assert states(stopped) == ["COMPLETE"] * 4
    status = {r.info.status for r in client.search_runs([experiment.experiment_id])}
    assert status == {"FINISHED"}
