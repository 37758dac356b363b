from collections.abc import Iterator
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.initialize import initialize_config_dir
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.cli.train import CONF
from kdsweep.sweeps.job_configs import JobConfigLoader

JOBS = [
    ["T=1", "loss=kl"],
    ["T=4", "loss=kl"],
    ["loss=kl", "T=4"],
    ["loss=[kl,ce]", "loss.kl.weight=0.5"],
    ["teacher=digits_resnet20", "dataset=digits", "trainer.epochs=3", "seed=7"],
    ["optimizer={lr:0.5}", "optimizer.lr=0.25", "optimizer=adamw"],
    ["+teacher.note='a b'", "T=2"],
    ["+experiment=digits_kd", "T=3"],
    ["~loss.kl.weight", "T=2"],
    ["hydra.job.name=other", "tracking.experiment=${hydra.job.name}", "T=${seed}"],
    ["alpha=null", "dataset.limit=null"],
    ["student/dataset@here=x", "T=1"],
    ["temprature=4"],
    ["trainer.epochs=ten"],
    ["loss=unknown", "T=1"],
]


@pytest.fixture
def loader() -> Iterator[ConfigLoaderImpl]:
    with initialize_config_dir(str(CONF)):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra.config_loader


@pytest.fixture
def master(loader: ConfigLoaderImpl) -> DictConfig:
    return loader.load_configuration("train", ["T=1,4", "hydra.verbose=true"], RunMode.MULTIRUN)


def _load(loader: Any, master: DictConfig, words: list[str]) -> Any:
    try:
        config = loader.load_sweep_config(master, words)
    except HydraException as error:
        return type(error), str(error)
    return OmegaConf.to_container(config, resolve=False)


@pytest.mark.ci
def test_the_configs_are_those_of_hydra(loader: ConfigLoaderImpl, master: DictConfig) -> None:
    shared = JobConfigLoader(loader)
    results = [_load(shared, master, words) for words in JOBS]
    assert results == [_load(loader, master, words) for words in JOBS]
    assert sum(isinstance(result, dict) for result in results) >= 8


def test_jobs_that_choose_the_same_options_are_composed_once(
    loader: ConfigLoaderImpl, master: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[list[str]] = []
    real = loader.load_sweep_config

    def count(master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        composed.append(sweep_overrides)
        return real(master_config, sweep_overrides)

    monkeypatch.setattr(loader, "load_sweep_config", count)
    shared = JobConfigLoader(loader)
    jobs = [[f"loss={loss}", f"T={T}"] for loss in ("kl", "dkd") for T in (1, 2, 4)]
    for words in jobs:
        shared.load_sweep_config(master, words)
    assert composed == [["loss=kl"], ["loss=dkd"]]
    configs = [shared.take(master, words) for words in jobs]
    assert [config["T"] for config in configs] == [1, 2, 4, 1, 2, 4]
    assert len(composed) == 2


def test_a_word_of_several_jobs_is_parsed_once(
    loader: ConfigLoaderImpl, master: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    real = OverridesParser.parse_rule

    def count(self: OverridesParser, word: str, rule: str) -> Any:
        parsed.append(word)
        return real(self, word, rule)

    shared = JobConfigLoader(loader)
    shared.load_sweep_config(master, ["loss=kl"])  # Hydra parses the words of what it composes
    monkeypatch.setattr(OverridesParser, "parse_rule", count)
    for words in [["loss=kl", f"T={T}", f"alpha={alpha}"] for T in (1, 2) for alpha in (0, 0.5)]:
        shared.load_sweep_config(master, words)
    assert sorted(parsed) == ["T=1", "T=2", "alpha=0", "alpha=0.5"]
