"""What no search can do: one message with key, value and what is allowed, and nothing created."""

from typing import Any

import pytest
from commands import Command
from hydra_plugins.hydra_optuna_sweeper.config import Direction
from omegaconf import OmegaConf, open_dict
from studies import Load

from kdsweep.errors import UserError
from kdsweep.search.plan import make_search_plan
from kdsweep.search.validation import directions_of, refuse_values

TWO = "hydra.sweeper.direction=[maximize,minimize]"
MINIMIZE = "hydra.sweeper.direction=minimize"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hydra.sweeper.n_jobs", 0, "hydra.sweeper.n_jobs must be from 1 to 10000, got 0"),
        ("hydra.sweeper.n_jobs", -2, "hydra.sweeper.n_jobs must be from 1 to 10000, got -2"),
        ("hydra.sweeper.n_jobs", 10000000, "n_jobs must be from 1 to 10000, got 10000000"),
        ("hydra.sweeper.n_trials", 0, "hydra.sweeper.n_trials must be from 1 to 1000000, got 0"),
        ("hydra.sweeper.n_trials", -3, "hydra.sweeper.n_trials must be from 1 to 1000000, got -3"),
        ("hydra.sweeper.n_trials", 10**20, "n_trials must be from 1 to 1000000, got"),
        ("search.workers", 100000, "search.workers must be null or from 1 to 256, got 100000"),
        ("search.workers", 0, "search.workers must be null or from 1 to 256, got 0"),
        ("search.max_failures", -1, "search.max_failures must be from 0 to 1000000, got -1"),
        ("search.finalists", 10**8, "search.finalists must be from 0 to 1000, got 100000000"),
        ("search.finalists", -1, "search.finalists must be from 0 to 1000, got -1"),
        ("search.finalist_seeds", -1, "search.finalist_seeds must be from 0 to 1000, got -1"),
        (
            *("search.finalist_seeds", 0),
            "search.finalist_seeds must be at least 1 with search.finalists=3, got 0",
        ),
        (
            *("search.seeds", []),
            "must be rising integers from 0 to 9223372036854775807, got []",
        ),
        (
            *("search.seeds", [1, 0]),
            "rising integers from 0 to 9223372036854775807, got [1, 0]",
        ),
        ("search.seeds", [0, 2**63], "search.seeds must be rising integers from 0"),
        ("search.name", "a\tb", "search.name must be null or a plain folder name"),
        (
            *("search.name", "../../out"),
            "search.name must be null or a plain folder name, got ../../o",
        ),
        ("search.name", "a/b", "search.name must be null or a plain folder name, got a/b"),
        ("search.name", "..", "search.name must be null or a plain folder name, got .."),
        ("search.name", "", "search.name must be null or a plain folder name, got"),
        (
            *("hydra.launcher.cohort_size", 0),
            "hydra.launcher.cohort_size must be null or at least 1, got 0",
        ),
        ("hydra.sweeper.sampler.seed", 2**32, "sampler.seed must be null or from 0 to 2**32"),
        ("hydra.sweeper.sampler.seed", -1, "seed must be null or from 0 to 2**32 - 1, got -1"),
        (
            *("hydra.sweeper.storage", None),
            "hydra.sweeper.storage must be an address like sqlite:/",
        ),
        (
            *("hydra.sweeper.storage", "nonsense://x"),
            "hydra.sweeper.storage must be a storage that",
        ),
        (
            *("hydra.sweeper.direction", "up"),
            "hydra.sweeper.direction must be maximize for val/acc, got up",
        ),
        (
            *("hydra.sweeper.direction", "minimize"),
            "hydra.sweeper.direction must be maximize for val/acc, got minimize",
        ),
        (
            *("hydra.sweeper.direction", ["maximize", "minimize"]),
            "search.objectives must be one for each hydra.sweeper.direction",
        ),
        (
            *("search.objectives", ["val/loss"]),
            "hydra.sweeper.direction must be minimize for val/loss, got maximize",
        ),
        ("search.objectives", ["nope"], "search.objectives must be of val/acc, val/acc_best,"),
        (
            *("search.objectives", ["test/acc"]),
            "search.objectives must be of val/acc, val/acc_best, val/loss, num_params, latency_ms,"
            " got test/acc",
        ),
        ("resume", True, "resume must be false in a search, which always resumes, got true"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(
    load: Load, key: str, value: Any, message: str
) -> None:
    config = load("search=bayes")[1].copy()
    with open_dict(config):
        OmegaConf.update(config, key, value)
    with pytest.raises(UserError) as refused:
        refuse_values(config)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.timeout=soon"], "search.timeout must be null or a time > 0 like 90 (seconds),"),
        (["search.timeout=0"], "90s, 30m, 8h or 2d, got 0"),
        (
            ["temprature=interval(1,4)"],
            "temprature must be a key of the config to be searched, got ",
        ),
        (["optimizer.lrr=interval(0.1,1)"], "; did you mean optimizer.lr?"),
        (["trainer.epoch=range(1,4)"], "got int(interval(1, 3)); did you mean trainer.epochs?"),
        (["studnt.model.width=4,8"], "got choice(4, 8); did you mean student.model.width?"),
        (
            [f"search.seeds=[{2**63 - 2}]"],
            "search.seeds must be at most 9223372036854775804 with search.finalist_seeds=3, which",
        ),
        (
            ["search.workers=3", "hydra.launcher.workers=2"],
            "search.workers must be null with hydra.launcher.workers=2, got 3: both are the number",
        ),
        (
            ["search.workers=3", "hydra.launcher.workers=auto"],
            "search.workers must be null with hydra.launcher.workers=auto, got 3: both are the num",
        ),
        (
            ["hydra/launcher=lockstep_slurm", "hydra.launcher.detach=true"],
            "hydra.launcher.detach must be false in a search, whose controller chooses the next tr",
        ),
        (["seed=5"], "seed must be left out of a search, got 5: its seeds are search.seeds"),
        (["seed=0"], "seed must be left out of a search, got 0: its seeds are search.seeds"),
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
            ["+hydra.sweeper.sampler.nope=3"],
            "hydra.sweeper.sampler must be a sampler of Optuna's with options that it takes, got {",
        ),
        (["hydra/sweeper/sampler=motpe"], "The 'motpe' sampler was removed in Optuna 4.0."),
        (
            ["search/pruner=median", "search.pruner.n_startup_trials=-1"],
            "search.pruner must be a pruner of Optuna's with options that it takes, got {_target_",
        ),
        (
            ["search/pruner=median", "search.pruner._target_=os.getcwd"],
            "search.pruner must be a pr",
        ),
        (
            [TWO, "search.objectives=[val/loss,num_params]"],
            "hydra.sweeper.direction must be minimize for val/loss, got maximize",
        ),
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
def test_words_that_make_no_search_are_refused(load: Load, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        make_search_plan(*load("search=bayes", *words))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.sweeper.n_jobs=0", "hydra.sweeper.n_jobs must be from 1 to 10000, got 0"),
        (
            "alpha=interval(0,2)",
            "alpha must be a number in [0, 1], got 2, which is searched",
        ),
        (
            "foo=interval(0,1)",
            "foo must be a key of the config, got foo=interval(0,1)",
        ),
        ("seed=0,1", "seed must not be searched, got several; search.seeds are averaged"),
        (
            "hydra/sweeper/sampler=grid",
            "T must be a list or a range of steps with hydra/sweeper/sampler=grid, got tag(log, in",
        ),
    ],
)
def test_a_refused_command_prints_one_line_and_creates_nothing(
    command: Command, word: str, message: str
) -> None:
    outcome = command("search=bayes", word)
    assert outcome.code == 1, outcome.out
    assert message in outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert not [*outcome.folder.glob("multirun*"), *outcome.folder.glob("*.db")]


def test_all_wrong_values_of_a_search_are_named_at_once(load: Load) -> None:
    words = ["search=bayes", "search.timeout=soon", "search.workers=0", "seed=3"]
    words += ["search.objectives=[nope]", "hydra.sweeper.n_jobs=0"]
    with pytest.raises(UserError) as refused:
        make_search_plan(*load(*words))
    keys = [line.split(" ")[0] for line in str(refused.value).splitlines()]
    assert sorted(keys) == sorted(word.partition("=")[0] for word in words[1:])


@pytest.mark.parametrize(
    ("direction", "names"),
    [
        (Direction.maximize, ["maximize"]),
        ("minimize", ["minimize"]),
        (["maximize", Direction.minimize], ["maximize", "minimize"]),
    ],
)
def test_directions_are_enums_or_their_names(direction: Any, names: list[str]) -> None:
    config = OmegaConf.create({"hydra": {"sweeper": {"direction": direction}}})
    assert directions_of(config) == names
