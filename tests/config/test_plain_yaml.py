from omegaconf import OmegaConf

from kdsweep.config.plain_yaml import as_yaml

VALUES = {
    "numbers": [1, 1.0, 1e-05, float("inf"), True, None],
    "texts": ["1", "1e-3", "1_000", "true", "no", "null", "", "a: b", "é", "two\nlines", "x" * 200],
    "empty": {"list": [], "dict": {}},
    "interpolation": "${T}",
    "missing": "???",
    3: "a number as a key",
}


def test_plain_values_are_written_as_omegaconf_writes_a_config():
    assert as_yaml(VALUES) == OmegaConf.to_yaml(OmegaConf.create(VALUES))
    assert OmegaConf.create(as_yaml(VALUES)) == OmegaConf.create(VALUES)


def test_the_config_of_a_run_is_written_as_omegaconf_writes_it(compose):
    plain = OmegaConf.to_container(compose("loss=[kl,fitnet]"), resolve=False, enum_to_str=True)
    assert as_yaml(plain) == OmegaConf.to_yaml(OmegaConf.create(plain))


def test_a_text_that_is_kept_is_that_of_its_own_value():
    for value in (1, 1.0, True, "1", [1], [True]):
        assert as_yaml({"a": value}) == OmegaConf.to_yaml({"a": value})
    for key in (1, True, "1", "on", "a: b"):
        assert as_yaml({key: [0]}) == OmegaConf.to_yaml({key: [0]})


def test_values_below_a_key_are_written_as_those_of_that_key():
    values = {**VALUES, "nested": {"long": "some words " * 20, "list": [{"a": 1}]}}
    assert as_yaml(values, below="hydra") == OmegaConf.to_yaml({"hydra": values})
    assert as_yaml({}, below="hydra") == OmegaConf.to_yaml({"hydra": {}})
    assert as_yaml({}) == OmegaConf.to_yaml({})
