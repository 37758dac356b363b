"""Values out of range: one message for each, with the key, the value and what is allowed."""

import pytest
from commands import Compose, Refusal

from kdsweep.config.resolve import resolve_config
from kdsweep.config.validate import validation_errors

WRONG = {
    "T=0": "T must be a number from 1e-6 to 1e6, got 0",
    "alpha=2": "alpha must be a number in [0, 1], got 2",
    "seed=-1": "seed must be an integer >= 0, got -1",
    "hard_weight=-1": "hard_weight must be null or a finite number >= 0, got -1",
    "hard.label_smoothing=1": "hard.label_smoothing must be a number in [0, 1), got 1",
    "trainer.epochs=0": "trainer.epochs must be at least 1, got 0",
    "trainer.batch_size=0": "trainer.batch_size must be at least 1, got 0",
    "trainer.threads=0": "trainer.threads must be auto or an integer >= 1, got 0",
    "trainer.precision=fp8": "trainer.precision must be fp32 | bf16 | auto, got fp8",
    "trainer.grad_clip=0": "trainer.grad_clip must be null or a number > 0, got 0",
    "trainer.ema=1": "trainer.ema must be null or a number in (0, 1), got 1",
    "teacher.trainer.ema_warmup=true": (
        "teacher.trainer.ema must be given with teacher.trainer.ema_warmup=true, got null"
    ),
    "teacher.trainer.epochs=0": "teacher.trainer.epochs must be at least 1, got 0",
    "tracking.plots=all": "tracking.plots must be run | sweep | none, got all",
    "tracking.wait=-1": "tracking.wait must be a number of seconds >= 0, got -1",
    "cache.gib=-1": "cache.gib must be a number >= 0, got -1",
    "teacher.optimizer.lr=-1": "teacher.optimizer.lr must be a finite number > 0, got -1",
}
WEAK = "teacher.view=weak"
ALONE = {
    "T=-1": "T must be a number from 1e-6 to 1e6, got -1",
    "T=nan": "T must be a number from 1e-6 to 1e6, got nan",
    "T=inf": "T must be a number from 1e-6 to 1e6, got inf",
    "cache.gib=inf": "cache.gib must be a number >= 0, got inf",
    "cache.gib=nan": "cache.gib must be a number >= 0, got nan",
    "alpha=-0.1": "alpha must be a number in [0, 1], got -0.1",
    "optimizer.lr=-0.1": "optimizer.lr must be a finite number > 0, got -0.1",
    "optimizer.lr=fast": "optimizer.lr must be a finite number > 0, got fast",
    "optimizer.weight_decay=-1": "optimizer.weight_decay must be a finite number >= 0, got -1",
}


def test_all_wrong_values_are_named_at_once(compose: Compose) -> None:
    assert sorted(validation_errors(resolve_config(compose(*WRONG)))) == sorted(WRONG.values())


@pytest.mark.parametrize("word", ALONE)
def test_a_wrong_value_is_named(compose: Compose, word: str) -> None:
    assert validation_errors(resolve_config(compose(word))) == [ALONE[word]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["teacher.view=left"], "teacher.view must be same | weak | centre, got left"),
        (
            ["teacher.online=true", WEAK],
            "teacher.view must be same with teacher.online=true, got weak",
        ),
        (["teacher=peers", WEAK], "teacher.view must be same with teacher.peers, got weak"),
        (
            ["dataset.augment.strong_view=1", WEAK],
            "teacher.view must be same with dataset.augment.strong_view, got weak",
        ),
        (
            ["teacher=ensemble", "+teacher.members.first.view=weak"],
            "teacher.members.first.view must be same, got weak: teacher.view is that of all"
            " members",
        ),
        (
            ["student.image_size=[3]"],
            "student.image_size must be null, a number of pixels >= 1 or [H, W], got [3]",
        ),
        (
            ["teacher.image_size=0"],
            "teacher.image_size must be null, a number of pixels >= 1 or [H, W], got 0",
        ),
        (
            ["teacher=peers", "+teacher.peers.second.image_size=big"],
            "teacher.peers.second.image_size must be null, a number of pixels >= 1 or [H, W],"
            " got big",
        ),
        (["student.image_size=[9,9000]"], "student.image_size must be at most 8192, got 9000"),
    ],
)
def test_views_and_sizes(compose: Compose, words: list[str], message: str) -> None:
    assert validation_errors(resolve_config(compose(*words))) == [message]


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("teacher.online=true", "fp32 with teacher.online=true, whose logits are not kept"),
        ("teacher=peers", "fp32 with teacher.peers, whose logits are not kept"),
    ],
)
def test_logits_that_are_not_kept_are_not_rounded(
    compose: Compose, kind: str, allowed: str
) -> None:
    errors = validation_errors(resolve_config(compose(kind, "teacher.logits=fp16")))
    assert errors == [f"teacher.logits must be {allowed}, got fp16"]


@pytest.mark.parametrize(
    ("key", "option"), [("optimizer.momentum", "optimizer=sgd"), ("T", "loss=ce")]
)
def test_a_key_of_an_option_or_without_effect(refusal: Refusal, key: str, option: str) -> None:
    assert refusal(option, f"{key}=-1").startswith(f"{key} must be ")


def test_the_defaults_are_allowed(compose: Compose) -> None:
    assert validation_errors(resolve_config(compose())) == []
