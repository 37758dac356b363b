"""The compositions of the tests are Hydra's."""

import hydra
import pytest
from commands import Command
from compositions import compose, compose_whole
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.cli import CONF


def by_hydra(*words: str) -> DictConfig:
    """The config that Hydra composes of all these words at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_whole)
        return compose(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["T=9", "loss=[kl,fitnet]", "student.model.width=4", "optimizer={lr:0.5}", "~published"],
        ["T=9", "loss=[kl,fitnet]", "student.model.width=${teacher.model.width}", "dataset=fake"],
        ["loss.kl={weight:2}", "+student@teacher.peers.second=cnn", "teacher=peers", "++wide='1'"],
        ["experiment=cifar100_dkd", "scale=tiny", "dataset.limit=100", "hydra.job.name=other"],
    ],
)
def test_values_are_set_as_hydra_sets_them(words: list[str]) -> None:
    shared, whole = compose(*words), by_hydra(*words)
    assert OmegaConf.to_yaml(shared) == OmegaConf.to_yaml(whole)
    assert OmegaConf.is_struct(shared)
    assert OmegaConf.is_struct(whole)


@pytest.mark.parametrize("word", ["loss.kl.none=1", "+T=1", "T=1,2", "trainer.epochs=ten"])
def test_what_hydra_refuses_is_refused_alike(word: str) -> None:
    with pytest.raises(HydraException) as whole:
        by_hydra(word)
    with pytest.raises(type(whole.value)) as refused:
        compose(word)
    assert str(refused.value) == str(whole.value)


def test_a_command_prints_the_config_that_hydra_composes(command: Command) -> None:
    words = ["--cfg", "all", "T=9", "loss=mse", "trainer.epochs=3", "hydra.verbose=true"]
    shared = command(*words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_whole)
        assert command(*words) == shared
    assert "T: 9" in shared.out


def test_a_config_may_be_changed() -> None:
    compose("T=9").T = 8.0
    assert compose("T=9").T == 9.0


def of_a_sweep(*words: str) -> str:
    """What Hydra passes to a sweeper, as yaml."""
    with hydra.initialize_config_dir(str(CONF)):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        return OmegaConf.to_yaml(
            composer.compose_config("train", list(words), RunMode.MULTIRUN, from_shell=False)
        )


@pytest.mark.parametrize(
    "words",
    [
        ["T=1,2", "loss=ce,kl", "alpha=0.3", "hydra.sweep.dir=mine"],
        ["search=bayes", "T=tag(log,interval(1,4))", "hydra.sweeper.n_jobs=3", "search.seeds=[1]"],
    ],
)
def test_a_sweep_is_composed_as_hydra_composes_it(words: list[str]) -> None:
    shared = of_a_sweep(*words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_whole)
        assert of_a_sweep(*words) == shared
    assert all(word in shared for word in words)
