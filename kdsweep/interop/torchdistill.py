"""torchdistill (yoshitomo-matsubara): the criterion of a config, or the arguments of KDLoss."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kdsweep.errors import UserError
from kdsweep.interop.config_files import read_config
from kdsweep.interop.options import CommandLine, Options, one_of
from kdsweep.interop.translation import Translation, distillation, number

OTHERS = ("device", "log", "run_log", "start_epoch", "world_size", "dist_url")
COMMAND = CommandLine(
    values={
        "key": "KDLoss",
        "temperature": None,
        "alpha": None,
        "beta": None,
        "reduction": "batchmean",
        "eps": 1e-7,
        "label_smoothing": 0.0,
        "config": "",
        "seed": None,
    },
    flags=("disable_cudnn_benchmark", "test_only", "student_only", "log_config", "adjust_lr"),
    others=("*_module_path", "*_module_io", *OTHERS),
)
CRITERIA = ("KDLoss", "LogitStdKDLoss")
CROSS_ENTROPY = CommandLine({"label_smoothing": 0.0, "reduction": "mean"})
NOTES = (
    "since May 2023 (version 1.0) torchdistill does not set the teacher to evaluation mode: its"
    " BatchNorm normalises by the batch unless the teacher is set by the caller; here it is in"
    " evaluation mode",
)


class Part(NamedTuple):
    """A criterion: soft * KL + hard * CE, or a sum of such."""

    hard: float
    smoothing: float = 0.0
    soft: float | None = None
    T: float = 1.0
    standardize: bool = False
    notes: tuple[str, ...] = ()


def torchdistill(options: Options) -> Translation:
    """alpha CE + beta KL, beta = 1 - alpha; a criterion's key and kwargs, or those of a config."""
    notes = list(NOTES)
    if options.gives("config"):
        part = _of_config(options.text("config"))
        notes.append("of the config, the criterion alone is translated")
    else:
        part = _kd_loss(options)
    words = _words(part) + options.overrides({"seed": "seed={}"})
    return options.translation(words, [*part.notes, *notes])


def _kd_loss(options: Options) -> Part:
    key = options.text("key", CRITERIA)
    T = options.temperature("temperature")
    options.fixed("reduction")
    if standardize := key == "LogitStdKDLoss":
        options.fixed("eps")
    given = options.gives("alpha") or not options.gives("beta")
    alpha = options.weight("alpha") if given else 0.0
    if alpha == 0:
        note = "torchdistill leaves T^2 and beta out when alpha is 0: weight 1 / T^2"
        return Part(0.0, 0.0, 1 / T**2, T, standardize, (note,))
    soft = options.number("beta") if options.gives("beta") else 1 - alpha
    smoothing = options.number("label_smoothing")
    note = "alpha weighs the hard part in torchdistill"
    return Part(alpha, smoothing, soft, T, standardize, (note,))


def _words(part: Part) -> list[str]:
    words = ["loss=ce", f"hard_weight={number(part.hard)}"]
    if part.soft is not None:
        words = distillation("kl", T=part.T, soft=part.soft, hard=part.hard)
    if part.standardize:
        words.append("loss.kl.standardize=true")
    if part.smoothing:
        words.append(f"hard.label_smoothing={number(part.smoothing)}")
    return words


def _of_config(path: str) -> Part:
    """The sum of the criteria of a config with one training stage."""
    config = read_config("config", path)
    try:
        parts = _parts(config["train"]["criterion"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        form = "train.criterion with key and kwargs, of one stage"
        raise UserError(f"config must have {form}, got {path} without it") from error
    soft = [part for part in parts if part.soft is not None]
    smoothing = {part.smoothing for part in parts if part.hard}
    if len(soft) > 1 or len(smoothing) > 1:
        raise UserError(
            f"config must have one KDLoss and one label_smoothing, got {path} with more"
        )
    first = soft[0] if soft else parts[0]
    hard, notes = sum(part.hard for part in parts), [note for part in parts for note in part.notes]
    return first._replace(
        hard=hard, smoothing=max(smoothing, default=0.0), notes=tuple(dict.fromkeys(notes))
    )


def _parts(criterion: Mapping[str, Any]) -> list[Part]:
    """A criterion, or those of a WeightedSumLoss that has no loss of the model's own."""
    if criterion["key"] != "WeightedSumLoss":
        return [_part(criterion)]
    for name in {**criterion, **criterion["kwargs"]}:
        one_of("a key of WeightedSumLoss", str(name), ("key", "kwargs", "sub_terms"))
    terms = criterion["kwargs"]["sub_terms"].values()
    return [_weighted(_part(term["criterion"]), float(term.get("weight", 1))) for term in terms]


def _part(criterion: Mapping[str, Any]) -> Part:
    """One criterion with its arguments."""
    key = str(criterion["key"])
    one_of("a criterion of config", key, (*CRITERIA, "CrossEntropyLoss"))
    given = {str(name): value for name, value in (criterion.get("kwargs") or {}).items()}
    kwargs = {name: str(value) for name, value in given.items() if value is not None}
    if key == "CrossEntropyLoss":
        options = Options(kwargs, CROSS_ENTROPY)
        options.fixed("reduction")
        part = Part(1.0, options.number("label_smoothing"))
    else:
        options = Options({**kwargs, "key": key}, COMMAND)
        part = _kd_loss(options)
    return part._replace(notes=(*part.notes, *options.left_out()))


def _weighted(part: Part, weight: float) -> Part:
    soft = None if part.soft is None else weight * part.soft
    return part._replace(hard=weight * part.hard, soft=soft)
