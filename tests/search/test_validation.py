"""What no search can do: one sentence with key, value and what is allowed, and nothing made."""

import pytest
from commands import Command

TWO = "hydra.sweeper.direction=[maximize,minimize]"
MINIMIZE = "hydra.sweeper.direction=minimize"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs must be from 1 to 10000, got 0"),
        (["hydra.sweeper.n_jobs=-2"], "hydra.sweeper.n_jobs must be from 1 to 10000, got -2"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be from 1 to 1000000, got 0"),
        (["hydra.sweeper.n_trials=-3"], "hydra.sweeper.n_trials must be from 1 to 1000000, got -3"),
        (
            ["hydra.sweeper.n_trials=100000000000000000000"],
            "n_trials must be from 1 to 1000000, got",
        ),
        (["search.workers=100000"], "search.workers must be from 1 to 256, got 100000"),
        (["search.finalists=100000000"], "search.finalists must be from 0 to 1000, got 100000000"),
        (["hydra.sweeper.n_jobs=10000000"], "n_jobs must be from 1 to 10000, got 10000000"),
        (["hydra.sweeper.sampler.seed=4294967296"], "sampler.seed must be null or from 0 to 2**32"),
        (["search.seeds=[0,9223372036854775808]"], "search.seeds must be rising integers from 0"),
        (["search.name='a\tb'"], "search.name must be null or a plain folder name"),
        (["search.workers=0"], "search.workers must be from 1 to 256, got 0"),
        (["search.max_failures=-1"], "search.max_failures must be from 0 to 1000000, got -1"),
        (["search.finalists=-1"], "search.finalists must be from 0 to 1000, got -1"),
        (["search.finalist_seeds=-1"], "search.finalist_seeds must be from 0 to 1000, got -1"),
        (
            ["search.finalist_seeds=0"],
            "search.finalist_seeds must be at least 1 with search.finalists=3, got 0",
        ),
        (
            ["search.seeds=[]"],
            "must be rising integers from 0 to 9223372036854775807, got []",
        ),
        (
            ["search.seeds=[1,0]"],
            "rising integers from 0 to 9223372036854775807, got [1, 0]",
        ),
        (["search.timeout=soon"], "search.timeout must be like 90s, 30m, 8h or 2d, got soon"),
        (["search.name=../../out"], "search.name must be null or a plain folder name, got ../../o"),
        (["search.name=a/b"], "search.name must be null or a plain folder name, got a/b"),
        (["search.name=.."], "search.name must be null or a plain folder name, got .."),
        (["search.name="], "search.name must be null or a plain folder name, got"),
        (
            ["hydra.launcher.cohort_size=0"],
            "hydra.launcher.cohort_size must be null or at least 1, got 0",
        ),
        (
            ["hydra.sweeper.sampler.seed=-1"],
            "seed must be null or from 0 to 2**32 - 1, got -1",
        ),
        (["hydra.sweeper.storage=null"], "hydra.sweeper.storage must be an address like sqlite:/"),
        (["hydra.sweeper.storage=nonsense://x"], "hydra.sweeper.storage must be a storage that"),
        (["seed=5"], "seed must be left out of a search, got 5: its seeds are search.seeds"),
        (["seed=0,1"], "seed must not be searched, got several; search.seeds are averaged"),
        (["hydra.sweep.dir=mine"], "hydra.sweep.dir must be left out of a search, got mine: its f"),
        (
            ["hydra.sweeper.study_name=mine"],
            "hydra.sweeper.study_name must be left out of a search, got mine: its study is search.",
        ),
        (
            ["hydra.sweeper.max_failure_rate=2"],
            "max_failure_rate must be left out of a search, got 2.0: search.max_failures ends it",
        ),
        (
            ["hydra.sweeper.custom_search_space=os.system"],
            "must be left out of a search, got os.system: its space is hydra.sweeper.params",
        ),
        (["T=interval(16,1)"], "T must be a range with values, got interval(16,1): `low <= high`"),
        (
            ["T=tag(log,interval(0,16))"],
            "T must be a range with values, got tag(log,interval(0,16)): `low > 0` must hold",
        ),
        (["T=range(1,9,0)"], "T must be a range with values, got range(1,9,0): "),
        (
            ["loss=ce"],
            "T and alpha must change some run to be searched, got no effect with loss=ce",
        ),
        (["loss=mse", "T=1,2"], "T must change some run to be searched"),
        (
            ["hydra/sweeper/sampler=grid"],
            "T must be a list or a range of steps with hydra/sweeper/sampler=grid, got Float",
        ),
        (
            ["+hydra.sweeper.sampler.nope=3"],
            "hydra.sweeper.sampler must be a sampler of Optuna's with options that it takes, got {",
        ),
        (["hydra/sweeper/sampler=motpe"], "The 'motpe' sampler was removed in Optuna 4.0."),
        (
            ["search/pruner=median", "search.pruner.n_startup_trials=-1"],
            "search.pruner must be a pruner of Optuna's with options that it takes, got {'_target_",
        ),
        (
            ["search/pruner=median", "search.pruner._target_=os.getcwd"],
            "search.pruner must be a pr",
        ),
        (
            ["hydra.sweeper.direction=up"],
            "hydra.sweeper.direction must be maximize for val/acc, got up",
        ),
        ([MINIMIZE], "hydra.sweeper.direction must be maximize for val/acc, got minimize"),
        (
            ["search.objectives=[val/loss]"],
            "hydra.sweeper.direction must be minimize for val/loss, got maximize",
        ),
        (
            [TWO, "search.objectives=[val/loss,num_params]"],
            "hydra.sweeper.direction must be minimize for val/loss, got maximize",
        ),
        ([TWO], "search.objectives must be one for each hydra.sweeper.direction"),
        (["search.objectives=[nope]"], "search.objectives must be of val/acc, val/acc_best,"),
        (
            ["search.objectives=[val/loss]", MINIMIZE, "search/pruner=median"],
            "search/pruner must be none unless search.objectives=[val/acc], got MedianPruner with",
        ),
        (
            [TWO, "search.objectives=[val/acc,num_params]", "search/pruner=hyperband"],
            "search/pruner must be none unless search.objectives=[val/acc], got HyperbandPruner",
        ),
        (
            [TWO, "search.objectives=[val/acc,num_params]", "hydra/sweeper/sampler=cmaes"],
            "hydra/sweeper/sampler must be one for several objectives, got cmaes",
        ),
    ],
)
def test_said_in_one_sentence_before_anything_is_made(
    command: Command, words: list[str], sentence: str
) -> None:
    outcome = command("search=bayes", *words)
    assert outcome.code == 1, outcome.out
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert not [*outcome.folder.glob("multirun*"), *outcome.folder.glob("*.db")]


def test_the_bare_sweeper_searches_too(command: Command) -> None:
    few = ["hydra.sweeper.n_trials=2", "search.finalists=0", "tracking.plots=none"]
    outcome = command("hydra/sweeper=kdsweep", "T=1,2", *few)
    assert outcome.code == 0, outcome.err
    assert (outcome.folder / "optuna.db").is_file()
