"""Networks and recipe of a command line: the tables' experiment, and what differs from it."""

import shlex
from pathlib import Path

import pytest
from commands import Compose

from kdsweep.cli import CONF
from kdsweep.errors import UserError
from kdsweep.interop.networks import NAMES
from kdsweep.interop.repdistiller import COMMAND
from kdsweep.interop.repositories import translate

# Teacher and student of table 2 of RepDistiller's README, of different architectures
CROSS_ARCHITECTURE = [
    ("vgg13", "MobileNetV2", "vgg13_mobilenetv2"),
    ("ResNet50", "MobileNetV2", "resnet50_mobilenetv2"),
    ("ResNet50", "vgg8", "resnet50_vgg8"),
    ("resnet32x4", "ShuffleV1", "resnet32x4_shufflenetv1"),
    ("resnet32x4", "ShuffleV2", "resnet32x4_shufflenetv2"),
    ("wrn_40_2", "ShuffleV1", "wrn40_2_shufflenetv1"),
]


def path_of(teacher: str) -> str:
    return f"./save/models/{teacher}_vanilla/ckpt_epoch_240.pth"


def repdistiller(teacher: str, student: str, options: str = "-r 0.1 -a 0.9 -b 0") -> list[str]:
    words = f"--path_t {path_of(teacher)} --model_s {student} {options}"
    return translate("repdistiller", shlex.split(words)).words


@pytest.mark.parametrize(("teacher", "student", "pair"), CROSS_ARCHITECTURE)
def test_cross_architecture_pairs_have_their_experiment(
    teacher: str, student: str, pair: str
) -> None:
    words = repdistiller(teacher, student)
    assert words[:2] == ["experiment=base/cifar100", f"experiment/pair={pair}"]
    assert words[2] == f"teacher.checkpoint={path_of(teacher)}"
    assert (CONF / "experiment" / "pair" / f"{pair}.yaml").exists()


def test_every_network_of_the_tables_is_here() -> None:
    for name in NAMES.values():
        assert (CONF / "student" / f"{name}.yaml").exists()
        assert (CONF / "teacher" / f"{name}.yaml").exists()


def test_without_options_the_recipe_is_that_of_repdistiller(compose: Compose) -> None:
    cfg = compose(*repdistiller("resnet56", "resnet20"))
    defaults = COMMAND.values
    assert cfg.trainer.epochs == defaults["epochs"]
    assert cfg.trainer.batch_size == defaults["batch_size"]
    assert cfg.optimizer.lr == defaults["learning_rate"]
    assert cfg.optimizer.weight_decay == defaults["weight_decay"]
    assert cfg.optimizer.momentum == defaults["momentum"]
    assert cfg.schedule.gamma == defaults["lr_decay_rate"]
    assert ",".join(map(str, cfg.schedule.milestones)) == defaults["lr_decay_epochs"]
    assert cfg.teacher.checkpoint == path_of("resnet56")


def test_networks_that_are_no_pair_have_no_published_figures(compose: Compose) -> None:
    options = "-a 0.9 --epochs 100 --learning_rate 0.1 --lr_decay_epochs 60,80"
    cfg = compose(*repdistiller("resnet110", "resnet8", options))
    assert (cfg.teacher.name, cfg.student.name) == ("resnet110", "resnet8")
    assert "published" not in cfg
    assert (cfg.trainer.epochs, cfg.optimizer.lr) == (100, 0.1)
    assert list(cfg.schedule.milestones) == [60, 80]


@pytest.mark.ci
def test_networks_of_another_form_than_ours_get_theirs(compose: Compose) -> None:
    """VGG16 (that of our yaml is KD-pytorch's) and the narrowest WRN."""
    cfg = compose(*repdistiller("vgg16", "wrn_16_1"))
    teacher = cfg.teacher.model
    assert (cfg.teacher.name, cfg.student.name) == ("vgg16", "wrn16_1")
    assert (teacher.depth, teacher.max_pools, teacher.init) == (16, 3, "he")
    assert (cfg.student.model.depth, cfg.student.model.width) == (16, 1)
    vgg13 = compose("teacher=vgg13").teacher  # of RepDistiller's recipe
    for part in ("optimizer", "schedule", "trainer"):
        assert cfg.teacher[part] == vgg13[part]
    student = compose(*repdistiller("vgg13", "vgg16")).student.model
    assert student == teacher


def test_a_narrow_wide_resnet_is_no_student_of_a_published_pair() -> None:
    assert "experiment/pair=wrn40_2_wrn16_2" not in repdistiller("wrn_40_2", "wrn_16_1")


def test_a_small_network_is_trained_at_its_rate_whatever_is_given(compose: Compose) -> None:
    """As RepDistiller does, for MobileNetV2 and the ShuffleNets."""
    words = f"--path_t {path_of('vgg13')} --model_s MobileNetV2 -a 0.9 --learning_rate 0.2"
    translation = translate("repdistiller", shlex.split(words))
    assert translation.notes == ["not translated: learning_rate=0.2"]
    assert compose(*translation.words).optimizer.lr == 0.01


@pytest.mark.ci
def test_a_stage_is_trained_as_repdistiller_does(compose: Compose) -> None:
    options = "--distill factor -a 0 -b 200 --weight_decay 0.001"
    stage = compose(*repdistiller("resnet56", "resnet20", options)).stages.factors
    assert stage.schedule["_target_"].endswith("Constant")
    assert (stage.optimizer.lr, stage.optimizer.weight_decay) == (0.01, 0.001)
    fsp = compose(*repdistiller("vgg13", "vgg8", "--distill fsp -a 0 -b 50 --init_epochs 5"))
    assert fsp.stages.flow.epochs == 5
    assert fsp.stages.flow.loss.fsp.pairs[0] == ["stage1", "stage1"]


@pytest.mark.parametrize(
    ("teacher", "pair"),
    [("wrn_40_2", "wrn40_2_wrn16_2"), ("resnet32x4", "resnet32x4_wrn16_2")],
)
def test_the_boundaries_of_a_wide_resnet_are_before_its_last_batchnorm(
    compose: Compose, teacher: str, pair: str
) -> None:
    """As experiment=cifar100_crd_ab has them."""
    words = repdistiller(teacher, "wrn_16_2", "--distill abound -a 0 -b 1")
    ours = compose("experiment=cifar100_crd_ab", f"experiment/pair={pair}")
    stage, published = compose(*words).stages.boundaries, ours.stages.boundaries
    assert stage.loss.ab.pairs == published.loss.ab.pairs
    assert stage.loss.ab.connector == published.loss.ab.connector


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-a 0.9 --model_s vgg8", "path_t must be given"),
        ("-a 0.9 --path_t teacher.pth", "path_t must have a folder that names the teacher"),
        ("-a 0.9 --path_t my_own/x.pth", "path_t's teacher must be one of resnet8, "),
        ("-a 0.9 --path_t vgg13_/x.pth --model_s ViT", "model_s must be one of resnet8, "),
    ],
)
def test_what_names_no_network_is_refused(words: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        translate("repdistiller", words.split())
    assert message in str(caught.value)


def test_mdistillers_config_is_read_and_the_command_line_precedes_it(
    compose: Compose, tmp_path: Path
) -> None:
    (tmp_path / "kd.yaml").write_text(
        "DISTILLER: {TYPE: KD, TEACHER: vgg13, STUDENT: vgg8}\n"
        "SOLVER: {LR: 0.05, LR_DECAY_STAGES: [150, 180], WEIGHT_DECAY: 0.0005}\n"
        "LOG: {WANDB: False}\n"
    )
    words = f"python3 tools/train.py --cfg {tmp_path}/kd.yaml SOLVER.LR 0.1 KD.TEMPERATURE 2"
    translation = translate("mdistiller", words.split())
    cfg = compose(*translation.words)
    assert (cfg.teacher.name, cfg.student.name) == ("vgg13", "vgg8")
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.T) == (0.1, 0.0005, 2.0)
    assert list(cfg.schedule.milestones) == [150, 180]
    assert "download_ckpts/cifar_teachers/vgg13_vanilla" in translation.notes[0]


def test_mdistillers_dot_is_an_optimizer(compose: Compose, tmp_path: Path) -> None:
    """configs/cifar100/dot/vgg13_vgg8.yaml; the optimizer is also translated without a recipe."""
    (tmp_path / "dot.yaml").write_text(
        "DISTILLER: {TYPE: KD, TEACHER: vgg13, STUDENT: vgg8}\n"
        "SOLVER: {WEIGHT_DECAY: 0.0005, TRAINER: dot, DOT: {DELTA: 0.05}}\n"
    )
    translation = translate("mdistiller", ["--cfg", f"{tmp_path}/dot.yaml"])
    cfg = compose(*translation.words)
    published = compose("experiment=cifar100_dot", "experiment/pair=vgg13_vgg8")
    assert cfg.optimizer == {**published.optimizer, "delta": 0.05}
    assert (cfg.hard_weight, cfg.loss.kl.weight, cfg.T) == (0.1, published.loss.kl.weight, 4.0)
    assert not any("not translated" in note for note in translation.notes)
    words = translate("mdistiller", ["SOLVER.TRAINER", "dot", "DATASET.TYPE", "imagenet"]).words
    assert words[:2] == ["optimizer=dot", "optimizer.delta=0.075"]


def test_the_recipe_of_kd_pytorch(compose: Compose) -> None:
    words = "--T=16 --alpha=0.5 --optimizer=sgd-cifar10 --teacher_model_name=vgg"
    cfg = compose(*translate("kd-pytorch", words.split()).words)
    assert (cfg.student.name, cfg.teacher.checkpoint) == ("convnet4", "checkpoint/vgg.pth")
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (0.1, 0.0)
    assert list(cfg.schedule.milestones) == [150, 250]
