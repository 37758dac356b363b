"""The config of a single run from the words of a command line, without Hydra's jobs."""

from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdsweep.common.conf import CONF
from kdsweep.config.composition import PRIMARY
from kdsweep.config.copying import without_hydra
from kdsweep.config.group_faults import reason_of
from kdsweep.config.malformed import parse
from kdsweep.config.refusals import refusals
from kdsweep.config.register import register
from kdsweep.errors import UserError


def compose_single(words: Sequence[str]) -> DictConfig:
    """The composed config, without its `hydra` node.

    Args:
        words: overrides, and `--config-dir FOLDER`.

    Raises UserError for words that cannot be composed, and for a sweep.
    """
    register()
    arguments = get_args_parser().parse_intermixed_args(list(words))
    overrides = list(arguments.overrides)
    if arguments.config_dir is not None:
        overrides.append(f"hydra.searchpath=[file://{Path(arguments.config_dir).absolute()}]")
    for override in parse(overrides)[0]:
        if override.is_sweep_override():
            raise UserError(
                f"{override.key_or_group} must have one value, got"
                f" {str(override.input_line).partition('=')[2]}"
            )
    with initialize_config_dir(str(CONF)):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            config = hydra.compose_config(PRIMARY, overrides, RunMode.RUN, from_shell=False)
        except (HydraException, OmegaConfBaseException) as error:
            faults = refusals(overrides, hydra.config_loader) or [
                f"the overrides must be composable, got {' '.join(words)}: {reason_of(error)}"
            ]
            raise UserError("\n".join(faults)) from error
    return without_hydra(config)
