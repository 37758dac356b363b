"""What the runs of a sweep need of a cluster: cores, and whether a GPU."""

from collections.abc import Iterator, Sequence

from kdsweep.builders.device import resolve_device
from kdsweep.errors import UserError
from kdsweep.runs.spec import RunSpec
from kdsweep.work.unit_specs import tree


def cores_for(specs: Sequence[RunSpec], given: int | None) -> int:
    """The cores of a job, where ``given`` is `hydra.launcher.cpus`: by default one for each thread.

    Raises UserError if they are fewer than the threads of a run, or of what it needs.
    """
    threads = max(one.config.trainer.threads for spec in specs for one in tree(spec))
    if given is not None and given < threads:
        raise UserError(
            f"hydra.launcher.cpus must be null or at least trainer.threads={threads}, got {given}"
        )
    return given or threads


def gpus_for(specs: Sequence[RunSpec], given: float | None) -> float:
    """The GPUs of a job, where ``given`` is `hydra.launcher.gpus`: by default one if a run has one.

    Raises UserError if there are none for runs on a GPU.
    """
    on_gpu = [name for name in _devices(specs) if name.partition(":")[0] == "cuda"]
    if on_gpu and given == 0:
        raise UserError(
            f"hydra.launcher.gpus must be null or > 0 with trainer.device={on_gpu[0]}, got 0"
        )
    return float(bool(on_gpu)) if given is None else given


def _devices(specs: Sequence[RunSpec]) -> Iterator[str]:
    for name in dict.fromkeys(spec.config.trainer.device for spec in specs):
        yield resolve_device(name)
