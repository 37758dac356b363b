"""The cell of a run, which is a point of the sweep without the seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from kdsweep.common.text import format_number
from kdsweep.config.interpolation import interpolates
from kdsweep.config.overrides import CONTROL
from kdsweep.config.run_config import RunConfig


@dataclass(frozen=True)
class Cell:
    """One point of a sweep without its seed.

    Attributes:
        name: as people read it, `kl T=4 alpha=0.5`.
        loss: the names of its loss terms joined by `+`; `ce` if there are none.
        T, alpha: None where they have no effect.
    """

    name: str
    loss: str
    T: float | None = None
    alpha: float | None = None

    @property
    def settings(self) -> dict[str, float]:
        """T and alpha, where they have an effect."""
        both = {"T": self.T, "alpha": self.alpha}
        return {key: value for key, value in both.items() if value is not None}


def cell_of(cfg: DictConfig, config: RunConfig, swept: Sequence[str]) -> Cell:
    """The cell of a run.

    Args:
        cfg: the composed config, whose interpolations show whether T and alpha have an effect.
        config: the same, resolved.
        swept: the overrides of this run whose keys the sweep varies, as `key=value`.
    """
    T = config.T if interpolates(cfg, "T") else None
    alpha = config.alpha if interpolates(cfg, "alpha") else None
    parts = [config.loss_name]
    parts += [f"{k}={format_number(v)}" for k, v in (("T", T), ("alpha", alpha)) if v is not None]
    for override in swept:
        key, _, value = override.lstrip("+").partition("=")
        if key not in ("loss", "T", "alpha", "seed") and key.split(".")[0] not in CONTROL:
            parts.append(f"{key}={value}")
    return Cell(" ".join(parts), config.loss_name, T, alpha)
