"""The cores of a job that trains a unit: as many as it has threads."""

from kdsweep.config.limits import scalars
from kdsweep.errors import UserError
from kdsweep.work.unit_file import UnitFile


def cores_of(unit: UnitFile, given: int | None) -> int:
    """The cores for a unit, where ``given`` is `hydra.launcher.cpus`.

    Raises UserError if they are fewer than the threads of a run, or of what it needs.
    """
    values = (entry for root in unit.roots for entry in scalars(root.config))
    threads = max(value for key, value in values if key.rpartition(".")[2] == "threads")
    if given is not None and given < threads:
        raise UserError(
            f"hydra.launcher.cpus must be null or at least trainer.threads={threads}, got {given}"
        )
    return int(given or threads)
