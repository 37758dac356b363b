"""`kdsweep check`: what passes and what fails, on parts that are right and that are wrong."""

from pathlib import Path

import pytest
from commands import TINY
from own_modules import write_module
from typer.testing import CliRunner

from kdsweep.cli import app
from kdsweep.errors import UserError
from kdsweep.sweeps.check.contract import (
    BUILDS,
    DETERMINISTIC,
    FINITE,
    GRADIENT,
    LOCKSTEP,
    NO_WAITING,
    RESUMES,
    ROUND_TRIP,
    SHAPES,
    Check,
)
from kdsweep.sweeps.check.parts import check_words

MODULE = '''
import random
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from kdsweep import LabelledImages, LogitTerm, Schedule, SourceData, Term


class Net(nn.Module):
    """Right, with what a subclass has wrong."""

    def __init__(self, in_channels, num_classes, width=4):
        super().__init__()
        self.num_classes = num_classes
        self.body = nn.Conv2d(in_channels, width, 3)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return {"logits": self.head(self.body(images).mean((2, 3)))}


class WrongShape(Net):
    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes + 1)


class Waits(Net):
    def forward(self, images):
        logits = super().forward(images)["logits"]
        return logits / max(logits.abs().max().item(), 1e-6)


class Draws(Net):
    def forward(self, images):
        return super().forward(images)["logits"] * random.random()


class Detached(Net):
    def forward(self, images):
        return super().forward(images)["logits"].detach().requires_grad_()


class Infinite(Net):
    def forward(self, images):
        return super().forward(images)["logits"] / 0


class Hidden(Net):
    """Its number of channels is drawn anew whenever it is built."""

    def __init__(self, in_channels, num_classes):
        super().__init__(in_channels, num_classes, random.randint(1, 10**4))


class MAE(LogitTerm):
    def compare(self, student, teacher, labels):
        return (student - teacher).abs().mean()


class OfEachImage(MAE):
    def compare(self, student, teacher, labels):
        return (student - teacher).abs().mean(1)


class OfTheTeacher(Term):
    def forward(self, student, teacher, batch):
        return teacher.logits.pow(2).mean()


class OfBoth(Term):
    def forward(self, student, teacher, batch):
        return (student.logits - teacher.logits).pow(2).mean()


class Selects(MAE):
    def compare(self, student, teacher, labels):
        return (student - teacher)[teacher > 0].abs().mean()


class Images:
    name = "images"

    def __init__(self, draws=False, floats=False):
        self.draws, self.floats = draws, floats

    def load(self):
        generator = torch.Generator()
        generator.seed() if self.draws else generator.manual_seed(0)
        pixels = torch.randint(0, 256, (64, 1, 8, 8), generator=generator)
        images = pixels.float() if self.floats else pixels.to(torch.uint8)
        labels = torch.arange(64) % 2
        part = LabelledImages(images, labels)
        return SourceData(part, part, ("a", "b"))

    def digest(self):
        return "images"


class Inverted:
    def __call__(self, images, generator):
        return 255 - images


class InPlace:
    def __call__(self, images, generator):
        return images.copy_(255 - images)


class Drawn:
    def __call__(self, images, generator):
        return images // random.randint(2, 200)


class Larger:
    def __call__(self, images, generator):
        return torch.nn.functional.pad(images, (1, 1, 1, 1))


class Forgetful(SGD):
    """Its momentum is in no state."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-group["lr"] * self.steps)


class Idle(SGD):
    def step(self, closure=None):
        pass


class Negative(Schedule):
    def curve(self, optimizer, steps, warmup, per_epoch):
        return LambdaLR(optimizer, lambda step: 1 - step)
'''
BASE = [*TINY[:4], "loss=ce", "teacher=none", "student=mlp", "student.model.width=4"]
BASE += ["trainer.epochs=2", "trainer.batch_size=16", "allow=[parts]"]


@pytest.fixture
def here(own_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the module and options of the groups."""
    monkeypatch.chdir(own_modules)
    write_module(own_modules, "parts", MODULE)
    return own_modules


def option(group: str, text: str) -> list[str]:
    """The words of an option that a yaml of this text describes."""
    folder = Path("conf", group)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(text)
    return ["--config-dir", "conf", f"{group}=mine"]


def checked(*words: str) -> dict[str, dict[str, str | None]]:
    """The fault of every check, by part."""
    base = [w for w in BASE if not any(w.split("=")[0] == one.split("=")[0] for one in words)]
    if any(word.startswith("student=") for word in words):
        base.remove("student.model.width=4")
    found: dict[str, dict[str, str | None]] = {}
    for one in check_words([*words, *base]):
        assert isinstance(one, Check)
        found.setdefault(one.key, {})[one.name] = one.fault
    return found


def failed(found: dict[str, str | None]) -> dict[str, str]:
    return {name: fault for name, fault in found.items() if fault is not None}


def network(name: str) -> dict[str, str | None]:
    text = f"name: mine\nmodel:\n  _target_: parts.{name}\n"
    return checked(*option("student", text))["student.model"]


@pytest.mark.ci
def test_a_right_network_passes_and_its_run_is_checked(here: Path) -> None:
    text = "name: mine\nmodel:\n  _target_: parts.Net\n  width: 3\n"
    found = checked(*option("student", text))
    assert not any(map(failed, found.values())), found
    names = {BUILDS, SHAPES, FINITE, GRADIENT, NO_WAITING, DETERMINISTIC, ROUND_TRIP}
    assert set(found["student.model"]) == names
    assert set(found["the run"]) == {LOCKSTEP}


@pytest.mark.parametrize(
    ("name", "check", "fault"),
    [
        ("WrongShape", SHAPES, "logits must be (8, 10) in train mode, got (8, 11)"),
        ("Waits", NO_WAITING, "a step must read no value of a tensor: RuntimeError: "),
        ("Draws", DETERMINISTIC, "a step must be the same twice, bit for bit, got "),
        ("Detached", GRADIENT, "the loss must have a gradient for its parameters, got none"),
        ("Infinite", FINITE, "logits must be finite, got 80 that are not"),
        ("Hidden", DETERMINISTIC, "initial weights must be the same twice"),
        ("Nowhere", BUILDS, "student.model._target_ must be the path of a class or function"),
    ],
)
def test_what_is_wrong_with_a_network_is_named(
    here: Path, name: str, check: str, fault: str
) -> None:
    found = failed(network(name))
    assert found[check].startswith(fault), found


def loss(name: str) -> dict[str, str | None]:
    text = f"mine:\n  _target_: parts.{name}\n  weight: 1.0\n"
    words = ["teacher=cnn", "teacher.model.width=2"]
    return checked(*option("loss", text), *words)["loss.mine"]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "check", "fault"),
    [
        ("OfEachImage", SHAPES, "the value must be a scalar tensor, got (8,)"),
        pytest.param(
            "OfTheTeacher",
            GRADIENT,
            "the value must have a gradient for the student's output",
            marks=pytest.mark.slow,
        ),
        ("OfBoth", GRADIENT, "the value must have no gradient for the teacher's output, got one"),
        ("Selects", NO_WAITING, "a step must read no value of a tensor: "),
        pytest.param("MAE", None, None, marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_with_a_loss_is_named(
    here: Path, name: str, check: str | None, fault: str | None
) -> None:
    found = failed(loss(name))
    if check is None or fault is None:
        assert found == {}
    else:
        assert found[check].startswith(fault), found


@pytest.mark.parametrize(
    ("options", "check", "fault"),
    [
        ("", None, ""),
        ("\n  draws: true", DETERMINISTIC, "labels and images in memory must be the same twice"),
        (
            "\n  floats: true",
            SHAPES,
            "train of dataset.source must have images as uint8 (N, channels, H, W), got float32",
        ),
    ],
)
def test_what_is_wrong_with_a_data_set_is_named(
    here: Path, options: str, check: str | None, fault: str
) -> None:
    words = option("dataset", f"name: mine\nsource:\n  _target_: parts.Images{options}\n")
    found = check_words([*words, *(word for word in BASE if not word.startswith("dataset"))])
    of_source = {c.name: c.fault for c in found if c.key == "dataset.source" and c.fault}
    if check is None:
        assert of_source == {}
        return
    assert of_source[check].startswith(fault), of_source
    if check == SHAPES:  # the other parts need images
        assert {c.key for c in found} == {"dataset.source", "optimizer", "schedule"}


@pytest.mark.parametrize(
    ("name", "check", "fault"),
    [
        ("Inverted", None, ""),
        ("InPlace", SHAPES, "the given images must stay as they are, got others: copy them first"),
        (
            "Larger",
            SHAPES,
            "must be an augmentation that returns images as uint8 (8, 1, 8, 8), got",
        ),
        ("Drawn", DETERMINISTIC, "images of a generator must be the same twice"),
    ],
)
def test_what_is_wrong_with_an_augmentation_is_named(
    here: Path, name: str, check: str | None, fault: str
) -> None:
    word = f"+dataset.augment.own.mine={{_target_:parts.{name}}}"
    found = failed(checked(word)["dataset.augment.own.mine"])
    if check is None:
        assert found == {}
    else:
        assert found[check].startswith(fault), found


@pytest.mark.parametrize(
    ("group", "text", "check", "fault"),
    [
        (
            "optimizer",
            "_target_: parts.Forgetful\n_partial_: true\nlr: 0.1",
            RESUMES,
            "parameters of a run that is resumed must be the same twice",
        ),
        (
            "optimizer",
            "_target_: parts.Idle\n_partial_: true\nlr: 0.1",
            FINITE,
            "a step must change the parameters, got the same",
        ),
        (
            "schedule",
            "_target_: parts.Negative",
            FINITE,
            "the learning rate must be a number >= 0, got -0.1 in step 2",
        ),
    ],
)
def test_what_is_wrong_with_an_optimizer_or_a_schedule_is_named(
    here: Path, group: str, text: str, check: str, fault: str
) -> None:
    found = failed(checked(*option(group, text))[group])
    assert found[check].startswith(fault), found


def test_the_command_prints_a_table_and_fails_with_a_part(here: Path) -> None:
    words = option("student", "name: mine\nmodel:\n  _target_: parts.Draws\n")
    base = [word for word in BASE if not word.startswith("student")]
    done = CliRunner().invoke(app, ["check", *words, *base])
    assert done.exit_code == 1
    assert "parts.Draws" in done.output
    assert "deterministic: " in done.output
    assert "config round trip: " in done.output  # a network that is loaded is another one
    assert ", 2 failed" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["T=1,4"], "T must have one value, got 1,4"),
        (["trainer.epochs=0"], "trainer.epochs must be at least 1, got 0"),
        (["loss=nothing"], "loss must be one of "),
        (["allow=[os]"], "allow must be names of your modules, such as mynet, got os, of Python's"),
        (["allow=mynet"], "allow must be a list of strings, got mynet"),
    ],
)
def test_words_that_no_run_can_have_are_refused(here: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        check_words(words)
    assert str(refused.value).startswith(message)


@pytest.mark.ci
@pytest.mark.parametrize(
    "words",
    [
        ["loss=[kl,fitnet,crd]", "student=cnn", "loss.crd.negatives=4", "teacher.model.width=4"],
        *(
            pytest.param(["loss=kl", *words], marks=pytest.mark.slow)
            for words in (
                ["teacher=peers", "student=cnn"],
                ["teacher.online=true", "student=cnn", "teacher.model.width=4"],
                ["teacher=ensemble", "student=cnn"],
            )
        ),
    ],
    ids=lambda words: words[1],
)
def test_the_parts_of_kdsweep_pass(here: Path, words: list[str]) -> None:
    base = [w for w in BASE if w.split("=")[0].split(".")[0] not in ("loss", "teacher", "student")]
    if not any(word.startswith("teacher=") for word in words):
        words = [*words, "teacher=cnn"]
    found = check_words([*words, "student.model.width=4", *base])
    assert [one for one in found if one.fault is not None] == []
    assert found[-1].name == LOCKSTEP
