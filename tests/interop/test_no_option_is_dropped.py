"""Every option of a command line alters the overrides, is named in a note, or is refused."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsweep.errors import UserError
from kdsweep.interop.mdistiller import METHODS
from kdsweep.interop.networks import NAMES
from kdsweep.interop.options import CommandLine
from kdsweep.interop.repdistiller import FEATURE_TERMS, WITHOUT_TERM
from kdsweep.interop.repositories import REPOSITORIES, translate

PATH = "save/{}_vanilla/ckpt.pth"
# The values of options that are texts; the others are numbers
TEXTS = {
    "distill": (*FEATURE_TERMS, *WITHOUT_TERM),
    "path_t": (PATH.format("resnet56"), PATH.format("wrn_40_2")),
    "model_s": tuple(NAMES),
    "DISTILLER.TEACHER": tuple(NAMES),
    "DISTILLER.STUDENT": tuple(NAMES),
    "lr_decay_epochs": ("1,2", "3"),
    "SOLVER.LR_DECAY_STAGES": ("[1, 2]", "[3]"),
    "SOLVER.TRAINER": ("base", "dot"),
    "DATASET.TYPE": ("cifar100", "imagenet"),
    "REVIEWKD.STU_PREACT": ("False", "True"),
    "EXPERIMENT.LOGIT_STAND": ("False", "True"),
    "key": ("KDLoss", "LogitStdKDLoss"),
    "kd_mode": ("cse", "mse"),
    "optimizer": ("adam", "sgd", "sgd-cifar10"),
    "kd_distill_type": ("logit", "feature"),
    "kd_token_distill_type": ("soft", "hard"),
}
NUMBERS = ("0", "0.25", "1", "3", "0.75")
OTHER_TEXTS = ("one", "other")


class Case(NamedTuple):
    """A command line and one more option."""

    source: str
    base: tuple[str, ...]
    option: str


def bases() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Short command lines of every method that a repository has."""
    for distill in TEXTS["distill"]:
        weights = ("alpha=0.5", "beta=2", f"distill={distill}")
        yield "repdistiller", weights
        yield "repdistiller", (*weights, f"path_t={PATH.format('vgg13')}", "model_s=vgg8")
        yield "repdistiller", ("alpha=0", *weights[1:])
    for source in ("mdistiller", "logit-standardization-kd"):
        for method in METHODS:
            yield source, (f"DISTILLER.TYPE={method}",)
            yield source, (f"DISTILLER.TYPE={method}", "SOLVER.LR=0.2")
        yield source, ("DISTILLER.TYPE=KD", "DATASET.TYPE=imagenet")
    yield "logit-standardization-kd", ("DISTILLER.TYPE=MLKD", "SOLVER.LR=0.2")
    for method in ("KD", "DKD", "MLKD", "SP"):
        yield "logit-standardization-kd", (f"DISTILLER.TYPE={method}", "--logit-stand")
    for alpha in ("0", "0.5"):
        yield "torchdistill", ("temperature=2", f"alpha={alpha}")
    yield "timm", ()
    yield "timm", ("kd_model_name=resnet50", "model=resnet18", "task_loss_weight=0.5")
    yield "timm", ("kd_model_name=resnet50", "kd_distill_type=feature")
    yield "timm", ("kd_model_name=resnet50", "kd_distill_type=token", "num_classes=10")
    yield "timm", ("model=resnet18", "clip_grad=1")
    for optimizer in TEXTS["optimizer"]:
        yield "kd-pytorch", ("alpha=0.5", f"optimizer={optimizer}")
    for source in ("kd-pytorch", "kd_lib", "distiller", "mmrazor", "modelopt"):
        yield source, ()


def command_of(source: str, base: tuple[str, ...]) -> CommandLine:
    pairs = [word.removeprefix("--").partition("=") for word in base]
    return REPOSITORIES[source].accepted({name: value for name, _, value in pairs})


def names_of(source: str, base: tuple[str, ...]) -> list[str]:
    """Every option that is accepted, but a config file."""
    command = command_of(source, base)
    patterns = [name.replace("*", "X") for name in command.others]
    names = [*command.values, *command.aliases, *command.flags, *command.lists, *patterns]
    return [name for name in names if name not in ("config", "cfg")]


def values_of(command: CommandLine, option: str) -> tuple[str, ...]:
    name = command.aliases.get(option, option)
    if name in TEXTS:
        return TEXTS[name]
    return OTHER_TEXTS if isinstance(command.values.get(name, 0.0), str) else NUMBERS


def answer(source: str, words: tuple[str, ...]) -> object:
    """The overrides and notes, or None if the command line is refused."""
    try:
        return translate(source, words)
    except UserError:
        return None


def is_dropped(case: Case, values: tuple[str, str]) -> bool:
    """Whether two values of the option, or having and lacking a flag, give the same translation."""
    source, base, option = case
    command = command_of(source, base)
    name = command.aliases.get(option, option)
    rest = tuple(word for word in base if word.partition("=")[0] != name)
    if option in command.flags:
        first, second = answer(source, rest), answer(source, (*rest, f"--{option}"))
    else:
        first, second = (answer(source, (*rest, f"{option}={value}")) for value in values)
    return first is not None and first == second


BASES = list(bases())
CASES = [Case(*base, option) for base in BASES for option in names_of(*base)]


@pytest.mark.parametrize("source", REPOSITORIES)
def test_each_option_by_itself(source: str) -> None:
    of_source = [case for case in CASES if case.source == source]
    assert of_source
    for case in of_source:
        values = values_of(command_of(case.source, case.base), case.option)[:2]
        assert not is_dropped(case, (values[0], values[-1])), case


@pytest.mark.ci
@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_each_option_among_others(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    command = command_of(case.source, case.base)
    taken = {word.partition("=")[0] for word in case.base}
    free = [name for name in command.values if name not in {*taken, "config", "cfg"}]
    names = data.draw(st.lists(st.sampled_from(free), max_size=4, unique=True)) if free else []
    others = tuple(
        f"{name}={data.draw(st.sampled_from(values_of(command, name)))}" for name in names
    )
    values = data.draw(
        st.lists(
            st.sampled_from(values_of(command, case.option)), min_size=2, max_size=2, unique=True
        )
    )
    among = case._replace(base=case.base + others)
    assert not is_dropped(among, (values[0], values[1])), (among, values)


def test_an_option_without_a_part_is_named() -> None:
    line = ("--distill", "kd", "-r", "0.1", "-a", "0.9", "-b", "0", "--trial", "1")
    assert translate("repdistiller", line).notes == ["not translated: beta=0 trial=1"]


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="gamma must be given once, got 1 and 2"):
        translate("repdistiller", ["--gamma", "1", "-r", "2", "-a", "0.9"])
