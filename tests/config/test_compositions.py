"""The compositions of the tests are Hydra's."""

import pytest
from commands import Command
from compositions import compose, compose_whole
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from merged_defaults import merge_all
from omegaconf import DictConfig, ListConfig, OmegaConf


def by_hydra(*words: str) -> DictConfig:
    """The config that Hydra composes of all these words at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_whole)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_all)
        return compose(*words)


def parents(config: DictConfig | ListConfig) -> list[bool]:
    """For each node below, whether its parent is the one that it is in."""
    if config._is_none() or config._is_missing() or config._is_interpolation():
        return []
    keys = list(config) if isinstance(config, DictConfig) else range(len(config))
    nodes = [config._get_node(key) for key in keys]
    below = [node for node in nodes if isinstance(node, DictConfig | ListConfig)]
    own = [node._get_parent() is config for node in nodes]
    return own + [whole for node in below for whole in parents(node)]


@pytest.mark.ci
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
    assert shared._metadata.flags == whole._metadata.flags
    assert OmegaConf.is_struct(whole)
    assert parents(shared) == [True] * len(parents(whole))


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
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_all)
        assert command(*words) == shared
    assert "T: 9" in shared.out


def test_a_config_may_be_changed() -> None:
    compose("T=9").T = 8.0
    assert compose("T=9").T == 9.0
