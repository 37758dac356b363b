"""`kdsweep export`, `quantize` and `bench`: files made of a classifier, and what they cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdsweep.cli.options import NAMED_MODEL, Experiment, Uri, refuse_unwritable, user_errors

if TYPE_CHECKING:
    from kdsweep.deploy.classifier import Classifier
    from kdsweep.report.sources.address import Address

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=NAMED_MODEL)]
OwnImages = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="folder of images to compare on, by default the run's validation images; accuracies"
        " need folders with the names of the classes",
    ),
]


def export(
    source: Source,
    format: Annotated[str, typer.Option(help="onnx | pt2 | safetensors")] = "onnx",
    output: Annotated[
        Path | None, typer.Option(help="by default in deploy/ of the run's folder")
    ] = None,
    preprocess: Annotated[
        bool,
        typer.Option(
            "--preprocess",
            help="normalise in the file: uint8 (batch, H, W, channels) in, probabilities out",
        ),
    ] = False,
    opset: Annotated[int, typer.Option(help="of ONNX")] = 20,
    images: OwnImages = None,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Write a model for other runtimes, checked against torch on the run's validation images.

    A file with other outputs than the network's is not kept.
    """
    from rich.console import Console

    from kdsweep.deploy.evaluation_images import images_to_compare
    from kdsweep.deploy.export.export import ExportOptions, show
    from kdsweep.deploy.export.export import export as write
    from kdsweep.report.sources.address import Address

    with user_errors():
        options = ExportOptions(format, output, preprocess, opset)
        classifier = _load(source, uri, experiment)
        refuse_unwritable("--output", options.path(classifier).parent)
        compared, why = images_to_compare(classifier, images)
        _note(why)
        exported = write(classifier, options, compared, Address(uri, experiment))
    show(exported, Console())


def _load(source: str, uri: str | None, experiment: str | None) -> "Classifier":
    from kdsweep.deploy.sources import load

    return load(source, uri=uri, experiment=experiment)


def _note(why: str | None) -> None:
    if why is not None:
        typer.echo(f"compared on random pixels: {why}", err=True)


def quantize(
    source: Source,
    method: Annotated[
        list[str], typer.Option(help="static | dynamic | bf16 | fp16 | all; may be repeated")
    ] = ["all"],  # noqa: B006
    calibration: Annotated[
        str, typer.Option(help="ranges of static int8: minmax | entropy | percentile")
    ] = "minmax",
    calibration_images: Annotated[
        int, typer.Option(min=1, help="validation images that these are read from, at most")
    ] = 512,
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="7-bit weights, for x86 CPUs without VNNI")
    ] = False,
    qat: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="EPOCHS", help="train further with rounding, from the same teacher"
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="whose accuracy is measured: test | val")] = "test",
    teacher: Annotated[bool, typer.Option(help="measure its teacher, too")] = True,
    images: OwnImages = None,
    output: Annotated[
        Path | None, typer.Option(help="folder, by default deploy/ of the run's folder")
    ] = None,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Write a model with int8, bf16 or fp16 weights, and print what that costs in accuracy.

    Static int8 is calibrated on validation images and is what networks with convolutions need;
    dynamic int8 changes linear layers alone.
    """
    from rich.console import Console

    from kdsweep.deploy.quantize.options import images_for, options_of
    from kdsweep.deploy.quantize.quantize import quantize as make
    from kdsweep.deploy.quantize.quantize import show
    from kdsweep.deploy.run_record import deploy_folder
    from kdsweep.deploy.teachers import teacher_if_here
    from kdsweep.report.sources.address import Address

    with user_errors():
        options = options_of(method, calibration, reduce_range=reduce_range)
        classifier = _load(source, uri, experiment)
        folder = output or deploy_folder(classifier)
        refuse_unwritable("--output", folder)
        calibrated, measured = images_for(classifier, options, images, split, calibration_images)
        address = Address(uri, experiment)
        aware = None if qat is None else _aware(classifier, qat, address)
        learned_from = teacher_if_here(classifier, address.open) if teacher else None
        quantized = make(
            classifier, folder, options, calibrated, measured, aware, learned_from, address
        )
    show(quantized, Console())


def _aware(classifier: "Classifier", epochs: int, address: "Address") -> "Classifier":
    from kdsweep.sweeps.qat.train import train_aware

    return train_aware(classifier, epochs, address)


def bench(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help=f"{NAMED_MODEL}; a sweep: the best run of each network"
        ),
    ],
    teacher: Annotated[bool, typer.Option(help="measure their teachers, too")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="of a model, by default as many as torch uses")
    ] = None,
    memory: Annotated[
        bool, typer.Option(help="measure the memory of each model in a process of its own")
    ] = True,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="accuracy against latency, by default deploy/bench.png of the first model"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
    uri: Uri = None,
    experiment: Experiment = None,
) -> None:
    """Measure latency, throughput and memory of models and their teachers, in torch and ONNX.

    int8 files that `kdsweep quantize` has written are measured, too. Each file is run on the test
    set for its accuracy. All models are timed in turns: compare latencies within a table.
    """
    import json

    from rich.console import Console

    from kdsweep.deploy.bench.bench import bench as measure
    from kdsweep.deploy.bench.bench import draw, record_bench, show, to_json, use_threads
    from kdsweep.deploy.bench.models import named_models
    from kdsweep.deploy.run_record import deploy_folder
    from kdsweep.report.sources.address import Address

    with user_errors():
        use_threads(threads)
        address = Address(uri, experiment)
        models = named_models(sources, address, teachers=teacher)
        picture = plot or deploy_folder(models[0][1]) / "bench.png"
        refuse_unwritable("--plot", picture.parent)
        rows = measure(models, memory=memory)
        draw(rows, picture)
        record_bench(models, rows, picture, address)
    if as_json:
        typer.echo(json.dumps(to_json(rows), indent=2))
    else:
        show(rows, picture, Console())
