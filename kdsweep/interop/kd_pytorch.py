"""KD-pytorch (JoonyoungYi): the options of its trainer.py."""

from kdsweep.interop.options import CommandLine, Options, one_of
from kdsweep.interop.translation import Translation, distillation, quoted

TERMS = {"cse": "soft_ce", "mse": "mse_probs"}
RECIPE = ("lr", "n_epoch", "optimizer", "teacher_model_name")
COMMAND = CommandLine(
    {
        "alpha": 1.0,
        "T": 1.0,
        "kd_mode": "cse",
        "lr": 1e-4,
        "n_epoch": 300.0,
        "optimizer": "adam",
        "teacher_model_name": "ckpt",
    }
)
SGD = ["optimizer=sgd", "optimizer.weight_decay=0"]
OPTIMIZERS = {
    "adam": [],
    "sgd": SGD,
    "sgd-cifar10": [
        *SGD,
        "optimizer.lr=0.1",
        "schedule=multistep",
        "schedule.milestones=[150,250]",
    ],
}


def kd_pytorch(options: Options) -> Translation:
    """alpha soft + (1 - alpha) CE, and its recipe if a part of it is given."""
    term = options.text("kd_mode")
    one_of("kd_mode", term, TERMS)
    alpha = options.number("alpha")
    words = distillation(TERMS[term], T=options.temperature("T"), soft=alpha, hard=1 - alpha)
    notes = ["KD-pytorch's teacher stays in training mode; here it never is"]
    if not options.gives(*RECIPE):
        return options.translation(words, notes)
    return options.translation([*_recipe(options), *words], notes)


def _recipe(options: Options) -> list[str]:
    optimizer = options.text("optimizer", OPTIMIZERS)
    words = ["experiment=base/kd_pytorch", *OPTIMIZERS[optimizer]]
    if options.gives("teacher_model_name"):
        path = f"checkpoint/{options.text('teacher_model_name')}.pth"
        words.append(f"teacher.checkpoint={quoted(path)}")
    if optimizer == "sgd-cifar10":  # sets both itself
        return words
    if optimizer == "sgd":
        words.append(f"optimizer.lr={options.number('lr'):.15g}")
    if optimizer == "adam":
        words += options.overrides({"lr": "optimizer.lr={}"})
    return words + options.overrides({"n_epoch": "trainer.epochs={}"})
