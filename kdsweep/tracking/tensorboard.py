"""A run's metrics once more, as TensorBoard event files in its folder.

tensorboard is an extra, `pip install 'kdsweep[tensorboard]'`, and imported only when enabled.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"  # in the run's folder


class EventFiles:
    """Writes scalars while a run trains; points of epochs that are trained again are replaced."""

    def __init__(self, run_folder: Path, resume_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_folder / FOLDER), purge_step=resume_epoch)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add one epoch's metrics under their own names."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()
