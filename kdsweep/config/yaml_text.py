"""Plain values as YAML that OmegaConf reads back as the same values."""

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper


def values_to_yaml(values: Mapping[str, Any]) -> str:
    """The text of `OmegaConf.to_yaml`, without making a config of the values, which takes longer.

    OmegaConf's own dumper quotes texts that OmegaConf would read as numbers (`'1e-3'`).
    """
    text: str = yaml.dump(
        dict(values),
        Dumper=get_omega_conf_dumper(),
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
    )
    return text
