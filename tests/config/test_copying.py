import copy

import pytest
from omegaconf import OmegaConf, open_dict, read_write

from kdsweep.config import copying
from kdsweep.config.copying import PackedConfig, copy_config, only_hydra, without_hydra


@pytest.fixture
def config():
    found = OmegaConf.create(
        {"T": 4, "loss": {"T": "${T}"}, "names": [1, None, "???"], "hydra": {"job": {"T": "${T}"}}}
    )
    OmegaConf.set_struct(found, True)
    OmegaConf.set_readonly(found.hydra, True)
    return found


def test_a_copy_is_that_of_deepcopy_and_of_its_own(config):
    copied = copy_config(config)
    assert copied == copy.deepcopy(config)
    assert OmegaConf.is_struct(copied)
    assert OmegaConf.is_readonly(copied.hydra)
    copied.T = 8
    assert (copied.loss.T, copied.hydra.job.T, config.loss.T) == (8, 8, 4)


def test_hydra_and_the_rest_of_a_config_are_given_separately(config):
    rest, hydra = without_hydra(config), only_hydra(config)
    assert rest == OmegaConf.masked_copy(config, ["T", "loss", "names"])
    rest.added = 1  # a run's own config is completed
    assert "added" not in config
    assert list(hydra) == ["hydra"]
    assert OmegaConf.is_readonly(hydra.hydra)
    assert hydra.hydra.job.T == 4, "it refers to the rest of the config"
    assert config.hydra._get_parent() is config


def test_copies_of_one_config_are_not_one(config):
    packed = PackedConfig(config)
    config.T = 8
    first, second = packed.copy(), packed.copy()
    first.T = 16
    assert (first.T, second.T) == (16, 4)


def test_content_is_the_dict_of_the_nodes(config):
    """A private attribute of OmegaConf, which leaving out a key relies on."""
    content = vars(config)["_content"]
    assert type(content) is dict
    assert list(content) == list(config)
    assert content["hydra"] is config.hydra
    config.T = 8
    assert content["T"]._value() == 8


def test_a_config_is_whole_after_a_copy_and_after_one_that_failed(config, monkeypatch):
    before = copy.deepcopy(config)
    without_hydra(config)
    assert config == before

    def fail(_):
        raise RuntimeError

    monkeypatch.setattr(copying, "copy_config", fail)
    with pytest.raises(RuntimeError):
        without_hydra(config)
    assert config == before
    assert OmegaConf.is_struct(config)


def test_what_a_copy_lacks_is_not_copied(config):
    class Uncopied:
        def __reduce__(self):
            pytest.fail("this is not part of the copy")

    config.hydra._set_flag("allow_objects", True)
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.other = Uncopied()
    assert "hydra" not in without_hydra(config)
    assert isinstance(config.hydra.other, Uncopied)
