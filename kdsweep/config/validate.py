"""Ranges of the keys that kdsweep reads itself: a message for every value out of range."""

from importlib.util import find_spec
from math import inf
from typing import Any

from kdsweep.common.machine import usable_cores
from kdsweep.common.suggestions import did_you_mean
from kdsweep.common.teacher_views import SAME, TEACHER_VIEWS
from kdsweep.common.validation import (
    COLDEST,
    HOTTEST,
    TEMPERATURES,
    as_typed,
    is_number,
    parse_image_size,
)
from kdsweep.config.limits import MOST, excesses, odd_names
from kdsweep.config.recipes import PRIMARY_STUDENT
from kdsweep.config.run_config import ALL, HEAD, UNTRAINED, RunConfig, to_values
from kdsweep.config.schema import BY_NAME, BY_POSITION
from kdsweep.config.threads import AUTO, thread_count

PRECISIONS = ("fp32", "bf16", "auto")
MEMORY_FORMATS = ("auto", "channels_last", "contiguous")
LOGITS = ("fp32", "fp16")
TRAINED = (ALL, HEAD, UNTRAINED)
PLOTS = ("run", "sweep", "none")
EXPORTS = ("onnx", "pt2", "safetensors")
QUANTIZED = ("static", "dynamic", "bf16", "fp16")
NEEDS_ONNX = {"onnx", *QUANTIZED}
OF_ONNX = ("onnx", "onnxscript", "onnxruntime")


def validation_errors(config: RunConfig) -> list[str]:
    """One message for every value of the schema that is out of range."""
    values = to_values(config)
    gib = values["cache"]["gib"]
    interval, wait, plots = (
        values["tracking"][key] for key in ("checkpoint_seconds", "wait", "plots")
    )
    return [
        *_recipe_problems("", values),
        *_unless(0 <= interval < inf, "tracking.checkpoint_seconds", interval, "a number >= 0"),
        *_unless(0 <= wait < inf, "tracking.wait", wait, "a number of seconds >= 0"),
        *_unless(0 <= gib < inf, "cache.gib", gib, "a number >= 0"),
        *_unless_among(PLOTS, "tracking.plots", plots),
        *_deploy_problems(values["deploy"]),
        *_unless(
            values["trainer"]["train"] == ALL,
            "trainer.train",
            values["trainer"]["train"],
            f"{ALL}, for students are trained as a whole (teacher.trainer.train may differ)",
        ),
        *_network_problems("student.", values["student"]),
        *_stage_problems(values),
        *excesses(values),
        *odd_names(values),
        *_teacher_problems("teacher.", values["teacher"], values),
    ]


def _deploy_problems(deploy: dict[str, Any]) -> list[str]:
    problems = []
    for key, options in (("export", EXPORTS), ("quantize", QUANTIZED)):
        for value in deploy[key]:
            problems += _unless_among(options, f"deploy.{key}", value)
    wanted = [*deploy["export"], *deploy["quantize"]]
    needed = OF_ONNX if set(wanted) & NEEDS_ONNX else ()
    lacking = [name for name in needed if find_spec(name) is None]
    if lacking and not problems:
        problems.append(
            f"deploy must be none without the package {lacking[0]}, got {', '.join(wanted)};"
            " pip install 'kdsweep[deploy]'"
        )
    return problems


def _stage_problems(values: dict[str, Any]) -> list[str]:
    problems = []
    for name, stage in values["stages"].items():
        key, epochs = f"stages.{name}", stage["epochs"]
        problems += _unless(epochs >= 1, f"{key}.epochs", epochs, "at least 1")
        problems += _hard_weight_problems(f"{key}.", stage)
    for kind in ("peers", "online"):
        if values["stages"] and values["teacher"][kind]:
            names = ", ".join(values["stages"])
            problems.append(f"stages must be empty with teacher.{kind}, got {names}")
    return problems


def _teacher_problems(
    prefix: str, teacher: dict[str, Any] | None, values: dict[str, Any]
) -> list[str]:
    if teacher is None:
        return []
    problems = [] if teacher["model"] is None else _recipe_problems(prefix, teacher)
    if teacher["model"] is not None:
        problems += _part_problems(prefix, teacher)
    problems += _network_problems(prefix, teacher) + _view_problems(prefix, teacher, values)
    for name, peer in teacher["peers"].items():
        problems += _network_problems(f"{prefix}peers.{name}.", peer)
    problems += _unless_among(LOGITS, f"{prefix}logits", teacher["logits"])
    problems += _arithmetic_problems(prefix, teacher) + _idle_arithmetic(prefix, teacher)
    kinds = [kind for kind in ("model", "members", "peers") if teacher[kind]]
    if len(kinds) > 1:
        problems.append(f"{prefix}{kinds[1]} must be empty with {prefix}{kinds[0]}, got both")
    for name, member in teacher["members"].items():
        key = f"{prefix}members.{name}"
        if member["model"] is None:
            problems.append(f"{key} must be a model, got none")
        problems += _teacher_problems(f"{key}.", member, values)
    if teacher["online"]:
        problems += _online_problems(prefix, teacher)
    if teacher["peers"] and prefix != "teacher.":
        problems.append(f"{prefix}peers must be empty below the root: peers teach no one else")
    if PRIMARY_STUDENT in teacher["peers"]:
        problems.append(
            f"{prefix}peers must not be called {PRIMARY_STUDENT}, which is the run's own"
        )
    return problems + _teacher_problems(f"{prefix}teacher.", teacher["teacher"], values)


def _part_problems(prefix: str, teacher: dict[str, Any]) -> list[str]:
    """What of a teacher is trained: a head learns the labels, alone and before its students."""
    key, train = f"{prefix}trainer.train", teacher["trainer"]["train"]
    problems = _unless_among(TRAINED, key, train)
    if problems or train == ALL:
        return problems
    if teacher["online"]:
        problems += _unless(False, key, train, f"{ALL} with {prefix}online=true")
    if teacher["loss"] and train == HEAD:
        terms = "+".join(teacher["loss"])
        problems += _unless(False, f"{prefix}loss", terms, f"empty with {key}={HEAD}")
    if train == HEAD:
        for name, default in (("devices", 1), ("ema", None), ("compile", False)):
            value, allowed = teacher["trainer"][name], f"{as_typed(default)} with {key}={HEAD}"
            problems += _unless(value == default, f"{prefix}trainer.{name}", value, allowed)
    if train == UNTRAINED and teacher["start"] is None and teacher["checkpoint"] is None:
        problems.append(f"{prefix}start must be given with {key}={UNTRAINED}, got null")
    return problems


def _view_problems(prefix: str, teacher: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What a teacher sees of a batch that is not what its students see."""
    key, view = f"{prefix}view", teacher["view"]
    problems = _unless_among(TEACHER_VIEWS, key, view)
    if view == SAME:
        return problems
    if ".members." in prefix:
        return [f"{key} must be {SAME}, got {view}: teacher.view is that of all members"]
    for other, is_wrong in (
        (f"{prefix}online=true", teacher["online"]),
        (f"{prefix}peers", teacher["peers"]),
        ("dataset.augment.strong_view", values["dataset"]["augment"]["strong_view"]),
    ):
        problems += _unless(not is_wrong, key, view, f"{SAME} with {other}")
    return problems


def _size_problems(prefix: str, network: dict[str, Any]) -> list[str]:
    """The size of the images of a network."""
    if network["image_size"] is None:
        return []
    try:
        parse_image_size(f"{prefix}image_size", network["image_size"])
    except ValueError as error:
        return [str(error)]
    return []


def _network_problems(prefix: str, node: dict[str, Any]) -> list[str]:
    """The size of a network's images, the weights it starts from, and its stochastic depth."""
    start, match, depth = node["start"], node["start_match"], node["drop_path"]
    problems = _size_problems(prefix, node)
    problems += _unless_among((BY_NAME, BY_POSITION), f"{prefix}start_match", match)
    if depth is not None:
        allowed = "null or a number in [0, 1)"
        problems += _unless(0 <= depth < 1, f"{prefix}drop_path", depth, allowed)
    if start is None:
        if match == BY_POSITION:
            problems.append(
                f"{prefix}start must be given with {prefix}start_match={match}, got null"
            )
        return problems
    for other, is_wrong in (
        (f"with {prefix}checkpoint", node["checkpoint"] is not None),
        (f"without {prefix}model", node["model"] is None),
    ):
        problems += _unless(not is_wrong, f"{prefix}start", start, f"null {other}")
    return problems


def _idle_arithmetic(prefix: str, teacher: dict[str, Any]) -> list[str]:
    """Precision and format of a frozen teacher's forward pass, of teachers that are not frozen."""
    key = "online=true" if teacher["online"] else "peers"
    if not (teacher["online"] or teacher["peers"]):
        return []
    trainer = f"{prefix}trainer" if teacher["online"] else "trainer"
    problems = _unless(
        teacher["logits"] == "fp32",
        f"{prefix}logits",
        teacher["logits"],
        f"fp32 with {prefix}{key}, whose logits are not kept",
    )
    problems += _unless(
        not teacher["fold_batchnorm"],
        f"{prefix}fold_batchnorm",
        teacher["fold_batchnorm"],
        f"false with {prefix}{key}, whose BatchNorms are trained",
    )
    return problems + [
        f"{prefix}{option} must be {unset} with {prefix}{key}, got {teacher[option]}: it is that of"
        f" training, {trainer}.{option}"
        for option, unset in (("precision", "null"), ("memory_format", "auto"))
        if teacher[option] not in (None, "auto")
    ]


def _online_problems(prefix: str, teacher: dict[str, Any]) -> list[str]:
    """An online teacher starts untrained and learns the labels alone."""
    if prefix != "teacher.":
        return [f"{prefix}online must be false below the root, got true"]
    problems = []
    for key in ("checkpoint", "teacher", "members", "peers", "loss"):
        if given := teacher[key]:
            if isinstance(given, dict):  # a recipe has a name; loss terms and members are named
                given = given.get("name") or "+".join(given)
            problems.append(
                f"{prefix}{key} must be empty with {prefix}online=true, got {given}: such a teacher"
                " begins untrained and learns on hard labels alone"
            )
    return problems


def _recipe_problems(prefix: str, recipe: dict[str, Any]) -> list[str]:
    T, alpha, seed, trainer = (recipe[key] for key in ("T", "alpha", "seed", "trainer"))
    problems = [
        *_unless(COLDEST <= T <= HOTTEST, f"{prefix}T", T, TEMPERATURES),
        *_unless(0 <= alpha <= 1, f"{prefix}alpha", alpha, "a number in [0, 1]"),
        *_unless(seed >= 0, f"{prefix}seed", seed, "an integer >= 0"),
        *_hard_weight_problems(prefix, recipe),
    ]
    for key in ("epochs", "batch_size", "devices", "accumulate"):
        problems += _unless(trainer[key] >= 1, f"{prefix}trainer.{key}", trainer[key], "at least 1")
    problems += _device_problems(f"{prefix}trainer", trainer)
    problems += _thread_problems(f"{prefix}trainer.threads", trainer["threads"])
    problems += _arithmetic_problems(f"{prefix}trainer.", trainer)
    if (clip := trainer["grad_clip"]) is not None:
        problems += _unless(
            0 < clip < inf, f"{prefix}trainer.grad_clip", clip, "null or a number > 0"
        )
    if (ema := trainer["ema"]) is not None:
        problems += _unless(0 < ema < 1, f"{prefix}trainer.ema", ema, "null or a number in (0, 1)")
    elif trainer["ema_warmup"]:
        problems.append(
            f"{prefix}trainer.ema must be given with {prefix}trainer.ema_warmup=true, got null"
        )
    if trainer["compile"] and trainer["sync_batchnorm"] and trainer["devices"] > 1:
        problems.append(
            f"{prefix}trainer.compile must be false with {prefix}trainer.sync_batchnorm=true, got"
            " true"
        )
    decay = trainer["layer_decay"]
    problems += _unless(0 < decay <= 1, f"{prefix}trainer.layer_decay", decay, "a number in (0, 1]")
    smoothing, key = recipe["hard"]["label_smoothing"], f"{prefix}hard.label_smoothing"
    problems += _unless(0 <= smoothing < 1, key, smoothing, "a number in [0, 1)")
    for name, least in (("lr", "> 0"), ("weight_decay", ">= 0"), ("momentum", ">= 0")):
        value = recipe["optimizer"].get(name, 1)
        valid = is_number(value) and (0 < value < inf or (value == 0 and least == ">= 0"))
        problems += _unless(valid, f"{prefix}optimizer.{name}", value, f"a finite number {least}")
    return problems


def _device_problems(key: str, trainer: dict[str, Any]) -> list[str]:
    """Batches that are too small to be split: BatchNorm cannot process a single image."""
    devices, size = trainer["devices"], trainer["batch_size"]
    if not 1 < devices <= MOST["devices"] or size < 1:
        return []
    allowed = f"at least {2 * devices} with {key}.devices={devices}, two images for each"
    return _unless(size >= 2 * devices, f"{key}.batch_size", size, allowed)


def _thread_problems(key: str, threads: Any) -> list[str]:
    if threads == AUTO:
        return []
    count = thread_count(threads)
    if count is None or count < 1:
        hint = did_you_mean(threads, [AUTO]) if isinstance(threads, str) else ""
        given = repr(threads) if isinstance(threads, float) else as_typed(threads)  # 1.0, not 1
        return [f"{key} must be auto or an integer >= 1, got {given}{hint}"]
    if count == 1 or count > MOST["threads"]:  # which `excesses` reports
        return []
    cores = usable_cores(physical=False)
    allowed = f"auto or at most {cores}, the number of cores that this process may use"
    return _unless(count <= cores, key, count, allowed)


def _arithmetic_problems(prefix: str, node: dict[str, Any]) -> list[str]:
    precision = node["precision"]  # null: a teacher has that of its students
    return [
        *([] if precision is None else _unless_among(PRECISIONS, f"{prefix}precision", precision)),
        *_unless_among(MEMORY_FORMATS, f"{prefix}memory_format", node["memory_format"]),
    ]


def _hard_weight_problems(prefix: str, recipe: dict[str, Any]) -> list[str]:
    weight = recipe["hard_weight"]
    valid = weight is None or 0 <= weight < inf
    return _unless(valid, f"{prefix}hard_weight", weight, "null or a finite number >= 0")


def _unless(valid: bool, key: str, value: Any, allowed: str) -> list[str]:
    return [] if valid else [f"{key} must be {allowed}, got {as_typed(value)}"]


def _unless_among(options: tuple[str, ...], key: str, value: str) -> list[str]:
    hint = did_you_mean(value, options)
    return [] if value in options else [f"{key} must be {' | '.join(options)}, got {value}{hint}"]
