"""mdistiller (megvii-research): a config file and keys of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kdsweep.interop.networks import cifar100, network
from kdsweep.interop.options import CommandLine, Given, Options, one_of
from kdsweep.interop.translation import Translation, number, numbers

Overrides = Mapping[str, tuple[str, float]]  # an option -> the override and the default


class Method(NamedTuple):
    """A DISTILLER.TYPE."""

    term: str  # here
    overrides: Overrides
    fixed: Mapping[str, float | str] = {}  # options that have only one value here
    others: Sequence[str] = ()  # options that have no part in the loss here
    notes: Sequence[str] = ()


def feature_method(
    name: str,
    term: str,
    weight: float,
    overrides: Overrides | None = None,
    fixed: Mapping[str, float | str] | None = None,
    others: Sequence[str] = (),
) -> Method:
    """A method on features: CE_WEIGHT CE + FEAT_WEIGHT term."""
    weights: Overrides = {
        f"{name}.LOSS.CE_WEIGHT": ("hard_weight={}", 1.0),
        f"{name}.LOSS.FEAT_WEIGHT": (f"loss.{term}.weight={{}}", weight),
    }
    return Method(term, {**(overrides or {}), **weights}, fixed or {}, others)


KD: Overrides = {
    "KD.TEMPERATURE": ("T={}", 4.0),
    "KD.LOSS.KD_WEIGHT": ("loss.kl.weight={}", 0.9),
    "KD.LOSS.CE_WEIGHT": ("hard_weight={}", 0.1),
}
DKD: Overrides = {
    "DKD.T": ("T={}", 4.0),
    "DKD.ALPHA": ("loss.dkd.alpha={}", 1.0),
    "DKD.BETA": ("loss.dkd.beta={}", 8.0),
    "DKD.WARMUP": ("loss.dkd.schedule={{warmup:{}}}", 20.0),
    "DKD.CE_WEIGHT": ("hard_weight={}", 1.0),
}
REVIEWKD: Overrides = {
    "REVIEWKD.REVIEWKD_WEIGHT": ("loss.review.weight={}", 1.0),
    "REVIEWKD.WARMUP_EPOCHS": ("loss.review.schedule={{warmup:{}}}", 20.0),
    "REVIEWKD.CE_WEIGHT": ("hard_weight={}", 1.0),
}
RKD: Overrides = {
    "RKD.DISTANCE_WEIGHT": ("loss.rkd.distance_weight={}", 25.0),
    "RKD.ANGLE_WEIGHT": ("loss.rkd.angle_weight={}", 50.0),
}
CRD: Overrides = {
    "CRD.NCE.K": ("loss.crd.negatives={}", 16384.0),
    "CRD.NCE.TEMPERATURE": ("loss.crd.temperature={}", 0.07),
    "CRD.NCE.MOMENTUM": ("loss.crd.momentum={}", 0.5),
    "CRD.FEAT.DIM": ("loss.crd.dim={}", 128.0),
}
METHODS: Mapping[str, Method] = {
    "KD": Method("kl", KD),
    "DKD": Method("dkd", DKD),
    "REVIEWKD": Method("review", REVIEWKD, others=("REVIEWKD.*SHAPES", "REVIEWKD.*CHANNEL*")),
    "RKD": feature_method(
        "RKD", "rkd", 1.0, RKD, fixed={"RKD.PDIST.EPSILON": 1e-12, "RKD.PDIST.SQUARED": "False"}
    ),
    "CRD": feature_method(
        "CRD", "crd", 0.8, CRD, fixed={"CRD.MODE": "exact"}, others=("CRD.FEAT.*_DIM",)
    ),
    "FITNET": feature_method(
        "FITNET", "fitnet", 100.0, fixed={"FITNET.HINT_LAYER": 2.0}, others=("FITNET.INPUT_SIZE",)
    ),
    "AT": feature_method("AT", "at", 1000.0, fixed={"AT.P": 2.0}),
    "OFD": feature_method("OFD", "ofd", 0.001, fixed={"OFD.CONNECTOR.KERNEL_SIZE": 1.0}),
    "NST": feature_method("NST", "nst", 50.0),
    "PKT": feature_method("PKT", "pkt", 30000.0),
    "SP": feature_method("SP", "sp", 3000.0),
    "VID": feature_method(
        "VID",
        "vid",
        1.0,
        fixed={"VID.EPS": 1e-5, "VID.INIT_PRED_VAR": 5.0},
        others=("VID.INPUT_SIZE",),
    )._replace(notes=("mdistiller does not train the variances; here they are learned",)),
    "NONE": Method("ce", {}),
}
STU_PREACT = {"False": [], "True": ["loss.review.pairs=${pairs:before_relu,embedding}"]}

SOLVER: Overrides = {
    "SOLVER.BATCH_SIZE": ("trainer.batch_size={}", 64.0),
    "SOLVER.EPOCHS": ("trainer.epochs={}", 240.0),
    "SOLVER.LR": ("optimizer.lr={}", 0.05),
    "SOLVER.WEIGHT_DECAY": ("optimizer.weight_decay={}", 1e-4),
    "SOLVER.MOMENTUM": ("optimizer.momentum={}", 0.9),
    "SOLVER.LR_DECAY_RATE": ("schedule.gamma={}", 0.1),
}
RECIPE: Mapping[str, float | str] = {
    "DISTILLER.TEACHER": "ResNet50",
    "DISTILLER.STUDENT": "resnet32",
    **{name: default for name, (_, default) in SOLVER.items()},
    "SOLVER.LR_DECAY_STAGES": "[150, 180, 210]",
    "SOLVER.TYPE": "SGD",
}
OTHERS = ("EXPERIMENT.*", "LOG.*", "DATASET.NUM_WORKERS", "DATASET.TEST.*")
TRAINERS = ("base", "crd", "dot", "crd_dot")
FLAGS = ("resume",)
TEACHERS = "download_ckpts/cifar_teachers"


def mdistiller(options: Options) -> Translation:
    """CE_WEIGHT CE + the method's weight times its term, and the recipe for CIFAR-100.

    The recipe is translated if a network or a part of it is given; that of other data sets is not.
    """
    method = METHODS[options.text("DISTILLER.TYPE")]
    words = method_words(method, options)
    recipe, notes = recipe_words(options)
    return options.translation([*recipe, *words], [*method.notes, *notes])


def method_words(method: Method, options: Options) -> list[str]:
    """The term and its weights."""
    words = [f"loss={method.term}"]
    for name, (template, _) in method.overrides.items():
        read = options.temperature if template == "T={}" else options.weight
        words.append(template.format(number(read(name))))
    options.fixed(*method.fixed)
    if method.term == "review":
        words += STU_PREACT[options.text("REVIEWKD.STU_PREACT", STU_PREACT)]
    return words


def recipe_words(
    options: Options, trainers: Sequence[str] = TRAINERS
) -> tuple[list[str], list[str]]:
    """The networks and the recipe, if a part of them is given, and notes about them."""
    with_dot = options.text("SOLVER.TRAINER", trainers) in ("dot", "crd_dot")
    dot = dot_words(options) if with_dot else []
    if options.text("DATASET.TYPE") != "cifar100":
        return dot, ["networks, data and recipe are translated for CIFAR-100 alone"]
    if not options.gives(*RECIPE):
        return dot, []
    options.fixed("SOLVER.TYPE")
    teacher = options.text("DISTILLER.TEACHER")
    student = network("DISTILLER.STUDENT", options.text("DISTILLER.STUDENT"))
    words = [*cifar100(network("DISTILLER.TEACHER", teacher), student), *dot]
    for name, (template, _) in SOLVER.items():
        words.append(template.format(number(options.number(name))))
    milestones = ",".join(numbers(options.text("SOLVER.LR_DECAY_STAGES")))
    checkpoint = f"{TEACHERS}/{teacher}_vanilla/ckpt_epoch_240.pth"
    note = f"the teacher is trained here; its weights there are teacher.checkpoint={checkpoint}"
    return [*words, f"schedule.milestones=[{milestones}]"], [note]


def dot_words(options: Options) -> list[str]:
    return ["optimizer=dot", f"optimizer.delta={number(options.number('SOLVER.DOT.DELTA'))}"]


def command_line(given: Given, methods: Mapping[str, Method] = METHODS) -> CommandLine:
    """The options of the method that is given, else of that to which the first key belongs."""
    prefixes = [name.partition(".")[0] for name in given]
    first = next((prefix for prefix in prefixes if prefix in methods), "KD")
    kind = given.get("DISTILLER.TYPE", first)
    one_of("DISTILLER.TYPE", kind, methods)
    method = methods[kind]
    values: dict[str, float | str | None] = {"DISTILLER.TYPE": kind}
    values |= {name: default for name, (_, default) in method.overrides.items()}
    values |= method.fixed
    if method.term == "review":
        values["REVIEWKD.STU_PREACT"] = "False"
    values |= {"DATASET.TYPE": "cifar100", "SOLVER.TRAINER": "base", **RECIPE}
    values["SOLVER.DOT.DELTA"] = 0.075
    return CommandLine(values, flags=FLAGS, others=(*method.others, *OTHERS))
