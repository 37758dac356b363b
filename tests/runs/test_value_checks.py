"""Values that no data can make right: named with key, value and what is allowed, all at once."""

import pytest
from commands import Compose, Refusal

from kdsweep.config.resolve import resolve_config
from kdsweep.data.fake import Fake
from kdsweep.runs.value_checks import ValueChecks

DEVICE = "trainer.device must be auto, cpu or a device of this machine"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("student.model.width=10000000000", "student.model.width must be at most 16384, got 10000"),
        ("student.model.width=0", "student.model.width must be an integer > 0, got 0"),
        ("student.model.dropout=1", "student.model.dropout must be a number in [0, 1), got 1"),
        ("teacher.model.width=abc", "teacher.model.width must be an integer > 0, got abc"),
        ("dataset.augment.crop_padding=1000000", "crop_padding must be at most 1024, got 1000000"),
        ("trainer.device=meta", DEVICE),
        ("trainer.device=nope", DEVICE),
        ("seed=9223372036854775808", "seed must be at most 9223372036854775807, got 922337203685"),
        ("teacher.seed=9223372036854775808", "teacher.seed must be at most 9223372036854775807"),
        ("seed=-9223372036854775809", "seed must be an integer >= 0, got -9223372036854775809"),
        ('optimizer.lr="1e-3"', "optimizer.lr must be a finite number > 0, got the text '1e-3'"),
        ("optimizer.lr=null", "optimizer.lr must be a finite number > 0, got null"),
        ('+optimizer.eps="1e-3"', "optimizer.eps must be a number, got the text '1e-3'"),
        ("+optimizer.amsgrad=maybe", "optimizer.amsgrad must be true or false, got maybe"),
        ("+optimizer.betas=[0.9]", "optimizer.betas must be a list of 2, each a number, got [0.9]"),
        (
            "+optimizer.betas=[2,3]",
            "optimizer.betas must be a value that AdamW takes, got [2, 3]: Invalid beta",
        ),
        ("optimizer._partial_=false", "optimizer._partial_ must be true, got false"),
        ("schedule.pct_start=abc", "schedule.pct_start must be a number, got abc"),
        ("schedule.pct_start=null", "schedule.pct_start must be a number, got null"),
        (
            "schedule.warmup_epochs=1.5",
            "schedule.warmup_epochs must be a whole number >= 0, got 1.5",
        ),
        ("dataset.source.shape=8", "dataset.source.shape must be a list, each an integer, got"),
        ("loss.kl.standardize=null", "loss.kl.standardize must be true or false, got null"),
        ("~loss.kl._target_", "loss.kl._target_ must be the path of a class, got none"),
        ("~loss.kl.weight", "loss.kl.weight must be given"),
        ("loss.kl._target_=os.system", "loss.kl._target_ must be the path of a class or function"),
        (
            "student.model._target_=kdsweep.models.mlp.MPL",
            "got kdsweep.models.mlp.MPL; did you mean kdsweep.models.mlp.MLP?",
        ),
        (
            "+loss.kl.foo=1",
            "loss.kl.foo must be one of the options of KL (T, weight, standardize), got foo=1",
        ),
        (
            "+student.model.widht=4",
            "student.model.widht must be one of the options of MLP (width, dropout), got widht=4;"
            " did you mean student.model.width?",
        ),
        (
            "+teacher.model.widht=4",
            "teacher.model.widht must be one of the options of CNN (width, dropout), got widht=4;"
            " did you mean teacher.model.width?",
        ),
        (
            "+optimizer.betass=[0.9,0.99]",
            "optimizer.betass must be one of the options of AdamW (betas, ",
        ),
        (
            "+optimizer.betass=[0.9,0.99]",
            "), got betass=[0.9, 0.99]; did you mean optimizer.betas?",
        ),
        (
            "+schedule.pct_strat=0.1",
            "schedule.pct_strat must be one of the options of OneCycle (pct_start, warmup_epochs)",
        ),
        ("+dataset.source.num_trian=9", "; did you mean dataset.source.num_train?"),
        ("tracking.uri='http://local host'", "http://local host: an address has no spaces"),
        ("tracking.uri=http://bob:p/w@host", "tracking.uri must be an address like"),
    ],
)
def test_a_value_is_refused_before_the_data_is_read(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch, word: str, sentence: str
) -> None:
    monkeypatch.setattr(Fake, "load", None)
    message = refusal(word)
    assert sentence in message
    assert "\n" not in message


def test_options_of_a_source_that_its_decoder_takes(refusal: Refusal) -> None:
    message = refusal(
        "dataset=image_folder", "dataset.root=/nowhere", "+dataset.source.image_sizee=3"
    )
    assert message.startswith(
        "dataset.source.image_sizee must be one of the options of ImageFolder"
    )
    assert message.endswith("got image_sizee=3; did you mean dataset.source.image_size?")


@pytest.mark.ci
def test_a_model_is_not_built_for_other_images_than_those_of_the_data(compose: Compose) -> None:
    for words in (["student=vgg16"], ["student=torchvision", "student.model.name=vit_b_16"]):
        config = resolve_config(compose("loss=ce", *words))
        assert ValueChecks().errors(config, needs_teacher=False) == []


def test_a_model_of_a_billion_layers_is_not_built(refusal: Refusal) -> None:
    words = ["student=resnet8", "student.model.depth=1000000002"]
    assert refusal(*words) == "student.model.depth must be at most 10000, got 1000000002"


def test_an_experiment_has_a_name_that_mlflow_takes(refusal: Refusal) -> None:
    words = ["tracking.uri=sqlite:///mlflow.db", f"tracking.experiment={'a' * 2000}"]
    message = refusal(*words)
    assert message.startswith("tracking.experiment must be at most 256 characters, got aaa")


def test_all_errors_of_a_command_line_are_reported_together(refusal: Refusal) -> None:
    words = ["T=-1", "optimizer.lr=-1", "+loss.kl.foo=1", "+student.model.foo=1"]
    words += ["trainer.device=meta", "dataset.val_fraction=3", "teacher.seed=-1"]
    words += ["+teacher.optimizer.foo=1", "+teacher.model.foo=1", "dataset.augment.mixup=-1"]
    lines = refusal(*words).splitlines()
    keys = [line.split(" ")[0] for line in lines]
    assert sorted(keys) == sorted(word.lstrip("+").partition("=")[0] for word in words)


def test_two_options_of_an_optimizer_are_reported_together(refusal: Refusal) -> None:
    lines = refusal("+optimizer.betas=[2,3]", "+optimizer.eps=-1").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["optimizer.betas", "optimizer.eps"]


def test_options_of_a_teacher_that_no_term_needs_are_not_read(compose: Compose) -> None:
    config = resolve_config(compose("loss=ce", "+teacher.optimizer.foo=1"))
    assert ValueChecks().errors(config, needs_teacher=False) == []
    assert len(ValueChecks().errors(config, needs_teacher=True)) == 1


def test_the_stages_of_a_run(compose: Compose) -> None:
    config = resolve_config(compose("stages=hints", "student=cnn"))
    config.stages["hints"].optimizer = {"_target_": "torch.optim.SGD", "lrr": 3}
    (message,) = ValueChecks().errors(config, needs_teacher=True)
    assert message.startswith("stages.hints.optimizer.lrr must be one of the options of SGD (lr, ")
