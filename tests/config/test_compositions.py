"""The compositions of the tests are Hydra's."""

import pytest
from compositions import compose, options
from hydra.errors import HydraException
from omegaconf import OmegaConf


@pytest.mark.parametrize(
    "words",
    [
        ["T=9", "loss=[kl,fitnet]", "+wide=8", "student.model.width=${wide}", "~published"],
        ["loss.kl={weight:2}", "+student@teacher.peers.second=cnn", "teacher=peers", "++wide='1'"],
        ["experiment=cifar100_dkd", "scale=tiny", "dataset.limit=100", "hydra.job.name=other"],
    ],
)
def test_values_are_set_as_hydra_sets_them(words: list[str]) -> None:
    made, by_hydra = compose(*words), options(*words)
    assert OmegaConf.to_yaml(made) == OmegaConf.to_yaml(by_hydra)
    assert OmegaConf.is_struct(made)
    assert OmegaConf.is_struct(by_hydra)


@pytest.mark.parametrize("word", ["loss.kl.none=1", "+T=1", "T=1,2"])
def test_what_hydra_refuses_is_refused_alike(word: str) -> None:
    with pytest.raises(HydraException) as by_hydra:
        options(word)
    with pytest.raises(type(by_hydra.value)) as refused:
        compose(word)
    assert str(refused.value) == str(by_hydra.value)


def test_a_config_may_be_changed() -> None:
    compose("T=9").T = 8.0
    assert compose("T=9").T == 9.0
