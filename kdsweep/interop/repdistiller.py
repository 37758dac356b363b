"""RepDistiller (HobbitLong): the options of its train_student.py."""

from kdsweep.errors import UserError
from kdsweep.interop.networks import SLOW, Network, cifar100, network
from kdsweep.interop.options import CommandLine, Options
from kdsweep.interop.translation import Translation, distillation, number, numbers, quoted

# --distill: the term here, in addition to kl
FEATURE_TERMS = {
    "kd": None,
    "hint": "fitnet",
    "attention": "at",
    "similarity": "sp",
    "correlation": "cc",
    "vid": "vid",
    "crd": "crd",
    "rkd": "rkd",
    "pkt": "pkt",
    "nst": "nst",
    "kdsvd": "kdsvd",
    "factor": "ft",
}
# Those that train a part of the student or of the loss first: the stages here
STAGES = {"abound": "boundaries", "fsp": "flow", "factor": "factors"}
# abound with a WRN as student: the student's last BatchNorm is not trained in the stage
WRN_STUDENT = ("stage2.0.bn1", "stage3.0.bn1", "stage3")
TEACHERS_OF_WRN = {  # the maps before their ReLU, by the first part of our name
    "wrn": ("stage2.0.bn1", "stage3.0.bn1", "last.0"),
    "resnet": ("stage1:before_relu", "stage2:before_relu", "stage3:before_relu"),
}
WITHOUT_TERM = ("abound", "fsp")  # after their stage, only gamma and alpha have a part

OVERRIDES = {
    "batch_size": "trainer.batch_size={}",
    "epochs": "trainer.epochs={}",
    "weight_decay": "optimizer.weight_decay={}",
    "momentum": "optimizer.momentum={}",
    "lr_decay_rate": "schedule.gamma={}",
}
RECIPE = ("path_t", "model_s", "dataset", *OVERRIDES, "learning_rate", "lr_decay_epochs")
COMMAND = CommandLine(
    values={
        "distill": "kd",
        "gamma": 1.0,
        "alpha": None,
        "beta": None,
        "kd_T": 4.0,
        "feat_dim": 128.0,
        "mode": "exact",
        "nce_k": 16384.0,
        "nce_t": 0.07,
        "nce_m": 0.5,
        "hint_layer": 2.0,
        "init_epochs": 30.0,
        "path_t": None,
        "model_s": "resnet8",
        "dataset": "cifar100",
        "batch_size": 64.0,
        "epochs": 240.0,
        "learning_rate": 0.05,
        "lr_decay_epochs": "150,180,210",
        "lr_decay_rate": 0.1,
        "weight_decay": 5e-4,
        "momentum": 0.9,
    },
    aliases={"r": "gamma", "a": "alpha", "b": "beta"},
    others=("trial", "print_freq", "tb_freq", "save_freq", "num_workers"),
)


def repdistiller(options: Options) -> Translation:
    """gamma CE + alpha KL + beta other term, and its recipe if a network or a part of it is given.

    After the stages of abound and fsp there is no other term.
    """
    distill = options.text("distill", (*FEATURE_TERMS, *WITHOUT_TERM))
    notes = ["a stage first, then gamma CE + alpha KL"] if distill in WITHOUT_TERM else []
    words = _after_stage(distill, options) if distill in WITHOUT_TERM else _loss(distill, options)
    if not options.gives(*RECIPE):
        return options.translation(words, notes)
    teacher = network("path_t's teacher", teacher_of(options.text("path_t")))
    student = network("model_s", options.text("model_s"))
    recipe = _recipe(teacher, student, options)
    stage = _stage_recipe(distill, teacher.name, student.name, options)
    return options.translation([*recipe, *words, *stage], notes)


def _loss(distill: str, options: Options) -> list[str]:
    alpha, gamma, term = options.weight("alpha"), options.weight("gamma"), FEATURE_TERMS[distill]
    if term is None:
        return distillation("kl", T=options.temperature("kd_T"), soft=alpha, hard=gamma)
    weighted = [f"loss.{term}.weight={number(options.weight('beta'))}"]
    weighted += [f"hard_weight={number(gamma)}", *_of_method(distill, options)]
    if alpha == 0:
        return [f"loss={term}", *weighted]
    T = number(options.temperature("kd_T"))
    return [f"loss=[kl,{term}]", f"T={T}", f"loss.kl.weight={number(alpha)}", *weighted]


def _after_stage(distill: str, options: Options) -> list[str]:
    alpha, gamma = options.weight("alpha"), options.weight("gamma")
    stage = [f"stages={STAGES[distill]}", *_stage_epochs(distill, options)]
    if distill == "abound":
        stage.append("stages.boundaries.loss.ab.connector=identity")
    if alpha == 0:
        return [*stage, "loss=ce", *([] if gamma == 1 else [f"hard_weight={number(gamma)}"])]
    return [*stage, *distillation("kl", T=options.temperature("kd_T"), soft=alpha, hard=gamma)]


def _of_method(distill: str, options: Options) -> list[str]:
    """The options that one method has."""
    if distill == "crd":
        options.fixed("mode")
        names = {"nce_k": "negatives", "nce_t": "temperature", "nce_m": "momentum"}
        names["feat_dim"] = "dim"
        return [f"loss.crd.{key}={number(options.number(name))}" for name, key in names.items()]
    if distill == "correlation":
        return [f"loss.cc.dim={number(options.number('feat_dim'))}"]
    if distill == "hint":
        options.fixed("hint_layer")  # the `hint` of our networks
    if distill == "factor":
        stage = [f"stages={STAGES[distill]}", "loss.ft.learns=translator"]
        return [*stage, *_stage_epochs(distill, options)]
    return []


def _stage_epochs(distill: str, options: Options) -> list[str]:
    return options.overrides({"init_epochs": f"stages.{STAGES[distill]}.epochs={{}}"})


def _recipe(teacher: Network, student: Network, options: Options) -> list[str]:
    """The networks, and what differs from the recipe of the tables."""
    options.fixed("dataset")
    words = cifar100(teacher, student)
    words += [f"teacher.checkpoint={quoted(options.text('path_t'))}"]
    words += options.overrides(OVERRIDES)
    if student.name not in SLOW:  # RepDistiller trains those at 0.01, whatever is given
        words += options.overrides({"learning_rate": "optimizer.lr={}"})
    if options.gives("lr_decay_epochs"):
        milestones = ",".join(numbers(options.text("lr_decay_epochs")))
        words.append(f"schedule.milestones=[{milestones}]")
    return words


def teacher_of(path: str) -> str:
    """The teacher's name in the path of its snapshot, as RepDistiller derives it."""
    folder = path.split("/")[-2] if "/" in path else ""
    if not folder:
        form = "resnet56_vanilla/ckpt_epoch_240.pth"
        raise UserError(f"path_t must have a folder that names the teacher, {form}, got {path}")
    parts = folder.split("_")
    return "_".join(parts[:3] if parts[0] == "wrn" else parts[:1])


def _stage_recipe(distill: str, teacher: str, student: str, options: Options) -> list[str]:
    """How RepDistiller trains the stage, as far as it is not as the run."""
    if (stage := STAGES.get(distill)) is None:
        return []
    words = [f"+schedule@stages.{stage}.schedule=constant"]
    if distill == "factor" and student.startswith(("resnet", "wrn")) and student != "resnet50":
        optimizer = f"stages.{stage}.optimizer"
        words += [f"+optimizer@{optimizer}=sgd", f"{optimizer}.lr=0.01"]
        same = {name: f"{optimizer}.{name}={{}}" for name in ("weight_decay", "momentum")}
        words += options.overrides(same)
    if distill == "abound" and student.startswith("wrn"):
        words += [f"stages.{stage}.loss.ab.pairs={pairs}" for pairs in _wrn_boundaries(teacher)]
    if distill == "fsp":
        vgg = student.startswith("vgg")
        maps = [f"stage{i}" for i in range(1, 6)] if vgg else ["stem", "stage1", "stage2", "stage3"]
        pairs = ",".join(f"[{name},{name}]" for name in maps)
        words.append(f"stages.{stage}.loss.fsp.pairs=[{pairs}]")
    return words


def _wrn_boundaries(teacher: str) -> list[str]:
    """The pairs of a WRN student; none for a teacher that has another number of maps."""
    kind = "" if teacher == "resnet50" else teacher.rstrip("0123456789x_")
    if kind not in TEACHERS_OF_WRN:
        return []
    pairs = zip(WRN_STUDENT, TEACHERS_OF_WRN[kind], strict=True)
    return [f"[{','.join(f'[{student},{of_teacher}]' for student, of_teacher in pairs)}]"]
