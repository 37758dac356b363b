"""Config files of other repositories, which their command lines name."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kdsweep.errors import UserError
from kdsweep.interop.options import Given

TAG = re.compile(r"(?<=\s)![\w.]+")  # !import_call and the like: what they make is not needed


def with_config(given: Given, option: str) -> Given:
    """The options and those of the yaml file that ``option`` names, which have less precedence.

    Nested keys have dots. A key that is false or has no value is left out.
    Raises UserError for a file that cannot be read.
    """
    if option not in given:
        return given
    in_file = flattened(read_config(option, given[option]))
    return {**in_file, **{name: text for name, text in given.items() if name != option}}


def read_config(option: str, path: str) -> dict[str, Any]:
    """The mapping in a yaml file, its tags ignored. Raises UserError if there is none."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        mapping = OmegaConf.to_container(OmegaConf.create(TAG.sub("", text)))
        if not isinstance(mapping, dict):
            raise ValueError("it holds a list")
    except Exception as error:  # of the file system, of yaml and of OmegaConf
        reason = error.strerror if isinstance(error, OSError) else None
        first = reason or str(error).splitlines()[0]
        raise UserError(f"{option} must be a yaml file, got {path}: {first}") from error
    return {str(key): value for key, value in mapping.items()}


def flattened(node: Any, prefix: str = "") -> dict[str, str]:
    """The leaves of nested mappings by their dotted keys, as texts."""
    if node is None or node is False or node in ("", []):
        return {}
    if not isinstance(node, dict):
        return {prefix: str(node)}
    leaves: dict[str, str] = {}
    for key, value in node.items():
        leaves |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
