"""The run that trains a network further with the rounding of int8, from the same teacher."""

from dataclasses import replace
from typing import Any

from kdsweep.errors import UserError
from kdsweep.models.quantization_aware import with_rounding
from kdsweep.runs.build_specs import SpecBuilder
from kdsweep.runs.naming import Cell
from kdsweep.runs.spec import RunSpec
from kdsweep.sweeps.rerun.original import Original, spec_of
from kdsweep.tracking.run_dir import WEIGHTS
from kdsweep.training.arithmetic import FP32

ROLE = "qat"
PLAIN: dict[str, Any] = {"ema": None, "ema_warmup": False, "compile": False}
RATE = 0.1  # of the learning rate that the network was trained with


def qat_spec(original: Original, epochs: int) -> RunSpec:
    """The run: data set, teacher, loss, batches and schedule as of the original.

    It starts from the original's weights, with a tenth of its learning rate, in float32, on one
    device: the scales of the rounding are those of whole batches. Its weights are not averaged, for
    a few epochs have few steps, and rounding is not compiled.

    Raises UserError for a run that has peers or an online teacher, which would be trained, too.
    """
    base = spec_of(original)
    if base.peers or base.online_teacher is not None:
        raise UserError(
            "--qat needs a run that is trained on its own, got one that is trained with"
            f" {'peers' if base.peers else 'its teacher'}: {original.folder}"
        )
    config = base.config
    student = replace(
        config.student,
        model=with_rounding(config.student.model),
        checkpoint=str(original.folder / WEIGHTS),
        start=None,
    )
    changed = replace(
        config,
        student=student,
        stages={},
        trainer=replace(config.trainer, epochs=epochs, precision=FP32, devices=1, **PLAIN),
        optimizer=slower(config.optimizer),
    )
    cell = Cell(f"{base.cell.name} qat", base.cell.loss, base.cell.T, base.cell.alpha)
    return replace(SpecBuilder().of_config(changed, cell), role=ROLE)


def slower(optimizer: dict[str, Any]) -> dict[str, Any]:
    """The node of an optimizer with a tenth of its learning rate."""
    rate = optimizer.get("lr")
    return optimizer if rate is None else {**optimizer, "lr": RATE * rate}
