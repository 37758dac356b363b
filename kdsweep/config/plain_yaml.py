"""Plain values as the text of a yaml file, in OmegaConf's form."""

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper


def as_yaml(values: Mapping[str, Any]) -> str:
    """What `OmegaConf.to_yaml` writes for these values, without making a config of them first.

    A config of a run has some hundred nodes, which take ten times as long to make as to write.
    ``values`` must be nested dicts, lists and plain values; no list or dict may be there twice.
    """
    text: str = yaml.dump(
        dict(values),
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=False,
        Dumper=get_omega_conf_dumper(),
    )
    return text
