"""Times a few steps of every kind of cohort that is to be trained."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console

from kdsweep.builders.data import build_splits, build_stream
from kdsweep.builders.device import resolve_device
from kdsweep.config.run_config import HEAD, to_values
from kdsweep.data.pipeline.split import Dataset
from kdsweep.data.pipeline.stream import Stream
from kdsweep.errors import UserError
from kdsweep.execution.context import TrainingContext
from kdsweep.execution.worklist import WorkUnit
from kdsweep.runs.spec import RunSpec
from kdsweep.runs.units import build_unit, build_untrained_teacher, view_of_teacher
from kdsweep.sweeps.estimate.cost_model import CohortGroup, show
from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.profiling import STEPS, WARM_UP, CohortProfile, profile_cohort

LOGIT, LABEL = 4, 8  # bytes of each in a file of predictions


def print_estimate(units: Sequence[WorkUnit], context: TrainingContext, console: Console) -> None:
    """Time a few steps of what is to be trained, and print what all of it takes.

    Raises UserError if a run fails in its first steps, or a cohort does not fit into memory.
    """
    if not units:
        console.print("nothing is left to train")
        return
    context.forget_sources()
    uri = units[0].specs[0].config.tracking.uri
    show(list(measure_kinds(units, context)), console, copied=uri is not None)
    if any(unit.specs[0].config.trainer.devices > 1 for unit in units):
        line = "Timed with the part of a batch of one device; what devices exchange comes on top."
        console.print(line, style="dim", highlight=False)


def measure_kinds(units: Sequence[WorkUnit], context: TrainingContext) -> Iterator[CohortGroup]:
    """Each kind of cohort with a probe; cohorts that differ only in their seeds are one kind.

    Raises UserError if a run fails in its first steps, or a cohort does not fit into memory.
    """
    kinds: dict[str, list[WorkUnit]] = {}
    for unit in units:
        # What decides the cost of a step.
        nodes = [{**to_values(spec.config), "seed": None} for spec in unit.specs]
        kind = json.dumps(nodes, sort_keys=True, default=str)
        kinds.setdefault(kind, []).append(unit)
    for alike in kinds.values():
        count, name = len(alike[0].targets), _name(alike[0])
        runs = name if count == 1 else f"{count} runs side by side: {name}"
        context.progress.note(f"timing {STEPS} steps of {runs}")
        yield _measured_kind(alike, context)


def _name(unit: WorkUnit) -> str:
    """`kl T=1 alpha=0.1, ...`."""
    return unit.specs[0].cell.name + (", ..." if len(unit.targets) > 1 else "")


def _measured_kind(alike: Sequence[WorkUnit], context: TrainingContext) -> CohortGroup:
    """The cohorts of one kind, with a probe of the first."""
    specs = alike[0].specs
    config, dataset = specs[0].config, context.dataset(specs[0].config)
    stream = build_stream(config, dataset, resolve_device(config.trainer.device))
    val, test = len(dataset.val.labels) if dataset.val else 0, len(dataset.test.labels)
    keeps_predictions = context.options.answers
    last = test + (val if keeps_predictions else 0)
    return CohortGroup(
        name=_name(alike[0]),
        role=specs[0].role,
        left=tuple(_passes(unit) for unit in alike),
        epochs=config.trainer.epochs,
        steps_per_epoch=stream.steps_per_epoch,
        measured=val + (test if config.trainer.test_curve else 0),
        tested=last,
        prediction_bytes=last * (LOGIT * dataset.num_classes + LABEL) if keeps_predictions else 0,
        needs_teacher=tuple(spec.requirements.needs_teacher for spec in specs),
        probe=_probe(specs, dataset, _stream_of_one_device(specs, dataset)),
    )


def _stream_of_one_device(specs: Sequence[RunSpec], dataset: Dataset) -> Stream:
    """The stream with batches as large as the part of one of the devices."""
    config = specs[0].config
    trainer = config.trainer
    part = replace(trainer, batch_size=-(-trainer.batch_size // trainer.devices))
    return build_stream(
        replace(config, trainer=part),
        dataset,
        resolve_device(trainer.device),
        teacher_view=view_of_teacher(specs),
    )


def _passes(unit: WorkUnit) -> tuple[int, ...]:
    """How often each run of a cohort still reads the images: for a head only once."""
    is_head = unit.specs[0].config.trainer.train == HEAD
    return tuple(min(left, 1) if is_head else left for left in unit.epochs_left)


def _probe(specs: Sequence[RunSpec], dataset: Dataset, stream: Stream) -> CohortProfile:
    """A few steps of a cohort with an untrained teacher, recorded nowhere."""
    config = specs[0].config
    # A schedule ends with its run, and a short run has fewer steps than are probed.
    steps = max(stream.steps_per_epoch, WARM_UP + STEPS)
    teacher = build_untrained_teacher(specs, dataset, steps)
    networks = teacher.networks if teacher else ()
    units = [build_unit(spec, dataset, networks, steps) for spec in specs]
    splits = build_splits(config, dataset, str(stream.device))
    try:
        timings = profile_cohort(
            units,
            stream,
            teacher=teacher,
            split=splits.get("val", splits["test"]),
            threads=config.trainer.threads,
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        name = specs[0].name
        if len(specs) == 1:
            raise UserError(f"{name} does not fit into memory") from error
        raise UserError(
            f"hydra.launcher.cohort_size must be less than {len(specs)}, for {name} and the other"
            " runs of its cohort do not fit into memory together"
        ) from error
    for spec, unit in zip(specs, units, strict=True):
        if unit.failure is not None:
            raise UserError(f"{spec.name} fails in its first steps: {unit.failure}")
    return timings
