import pytest
from commands import Compose
from omegaconf import OmegaConf

from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import public_values
from kdsweep.config.yaml_text import values_to_yaml

ODD = ["1", "1e-3", "true", "null", "", "~", "x: y", " a ", "ä €", "a\nb\n", "a" * 99, "w " * 60]
ODD += ["${T}", "???", "#no", "it's", "- x", "2026-11-29", "yes", "0x1f", "=", "@x", "{a: 1}"]


@pytest.mark.parametrize(
    "values",
    [
        {f"key{place}": text for place, text in enumerate(ODD)},
        {"texts": ODD, "pairs": (("a", "b"), ["c"]), "none": [], "empty": {}},
        {"int": 1, "float": 1e-7, "nan": float("nan"), "bool": True, "null": None, "1": {"2": 3}},
    ],
)
def test_values_are_written_as_omegaconf_writes_them(values: dict[str, object]) -> None:
    assert values_to_yaml(values) == OmegaConf.to_yaml(OmegaConf.create(values))


def test_the_config_of_a_run_is_written_as_omegaconf_writes_it(compose: Compose) -> None:
    values = public_values(resolve_config(compose("dataset=fake", "loss=[fitnet,kl]")))
    assert values_to_yaml(values) == OmegaConf.to_yaml(OmegaConf.create(values))
