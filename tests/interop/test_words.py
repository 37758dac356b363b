"""A command line as it is pasted: program, launcher, flags, lists and config files."""

import shlex
from pathlib import Path

import pytest

from kdsweep.errors import UserError
from kdsweep.interop.repositories import translate
from kdsweep.interop.translation import quoted
from kdsweep.interop.words import launcher, split_program

KD = ["alpha=0.5", "temperature=2"]


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("python train.py", ""),
        ("python3 tools/train.py", ""),
        ("/usr/bin/python3.11 -m trainer", ""),
        ("torchrun --nproc_per_node=4 train.py", "torchrun --nproc_per_node=4"),
        ("CUDA_VISIBLE_DEVICES=0 python train.py", "CUDA_VISIBLE_DEVICES=0"),
        ("", ""),
    ],
)
def test_the_program_precedes_the_options(line: str, extra: str) -> None:
    program, options = split_program([*line.split(), "--alpha", "0.9"])
    assert options == ["--alpha", "0.9"]
    assert " ".join(launcher(program)) == extra


def test_the_launcher_is_named_in_a_note() -> None:
    notes = translate("torchdistill", ["torchrun", "--nproc=4", "x.py", *KD]).notes
    assert notes[-1] == "not translated: torchrun --nproc=4"


def test_flags_lists_and_the_folder_of_images() -> None:
    line = "/imagenet --amp --mean 0.5 0.4 -0.1 --model resnet18 --kd-temperature 2"
    words, notes = translate("timm", shlex.split(line))
    assert words[:2] == ["student=timm", "student.model.name=resnet18"]
    assert "T=2" in words
    assert notes == ["not translated: data=/imagenet amp mean=0.5 0.4 -0.1"]


@pytest.mark.parametrize(
    ("source", "words", "message"),
    [
        (
            "timm",
            "/imagenet task_los_weight 0.1",
            "data must be given once, got /imagenet and task_los",
        ),
        ("timm", "--kd-temperature --amp", "kd_temperature must have a value"),
        ("timm", "--bce-loss", "bce_loss must not be given, the hard term here is a cross-entropy"),
        ("timm", "--kd-distill-type map", "kd_distill_type must be one of logit, feature, token"),
        ("timm", "--kd-distill-type token", "num_classes must be given with kd_token_distill_type"),
        ("timm", "--clip-grad 1 --clip-mode agc", "clip_mode must be one of norm, got agc"),
        ("mmrazor", "tools/train.py configs/kd.py", "must be one of tau, loss_weight, "),
        ("mmrazor", "reduction=mean", "reduction must be one of batchmean, got mean"),
        (
            "mdistiller",
            "--cfg nothing.yaml",
            "cfg must be a yaml file, got nothing.yaml: No such file or directory",
        ),
        (
            "repdistiller",
            "python train_teacher.py --model vgg13",
            "a program of repdistiller must be one of train_student.py, got train_teacher.py",
        ),
        (
            "repdistiller",
            "sh scripts/fetch_pretrained_teachers.sh",
            "must be one of train_student.py, got fetch_pretrained_teachers.sh",
        ),
        ("mdistiller", "python3 tools/eval.py -m vgg8", "must be one of train.py, got eval.py"),
        ("kd-pytorch", "python -m train", "must be one of trainer, trainer.py, got train"),
        ("mdistiller", "KD.TEMPERATURE 0", "KD.TEMPERATURE must be > 0, got 0"),
        ("mdistiller", "DKD.BETA -1", "DKD.BETA must be >= 0, got -1"),
        ("mdistiller", "SOLVER.TRAINER dott", "SOLVER.TRAINER must be one of base, crd, dot, "),
        ("mdistiller", "AT.P=3", "AT.P must be 2, the only value known here, got 3"),
        ("distiller", "--kd-start-epoch 5", "kd_start_epoch must be 0, the only value known"),
    ],
)
def test_what_cannot_be_read_is_refused(source: str, words: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        translate(source, words.split())
    assert message in str(caught.value)


def test_labels_are_smoothed_where_timms_train_py_does_so() -> None:
    smoothed = "hard.label_smoothing=0.1"
    assert smoothed in translate("timm", ["--kd-model-name", "resnet50"]).words
    assert smoothed not in translate("timm", ["task_loss_weight=0.5"]).words
    without = translate("timm", ["--kd-model-name", "resnet50", "--smoothing", "0"]).words
    assert not any(word.startswith("hard.") for word in without)


def test_the_teacher_of_timm_is_used_as_it_is() -> None:
    words, notes = translate("timm", ["--kd-model-name", "resnet50", "--model", "resnet18"])
    teacher = ["teacher=timm", "teacher.model.name=resnet50", "teacher.start=DEFAULT"]
    assert words[2:6] == [*teacher, "recipe=zero"]
    assert notes[0].startswith("the teacher is used as it is, as by timm")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--pretrained", ["student.model.pretrained=true"]),
        ("--pretrained-path a.safetensors", ["student.start=a.safetensors"]),
        ("--initial-checkpoint a.pth --pretrained-path b.pth", ["student.start=a.pth"]),
        ("--drop-path 0.1", ["student.drop_path=0.1"]),
        ("--layer-decay 0.75", ["trainer.layer_decay=0.75"]),
        ("--grad-accum-steps 4", ["trainer.accumulate=4"]),
        ("--clip-grad 1", ["trainer.grad_clip=1"]),
        ("--model-ema", ["trainer.ema=0.9998"]),
        (
            "--model-ema --model-ema-decay 0.99 --model-ema-warmup",
            ["trainer.ema=0.99", "trainer.ema_warmup=true"],
        ),
        ("--model-ema-decay 0.99", []),
    ],
)
def test_options_of_timms_training(line: str, found: list[str]) -> None:
    plain = translate("timm", ["--model", "resnet18"]).words
    words = translate("timm", ["--model", "resnet18", *line.split()]).words
    assert [word for word in words if word not in plain] == found


def test_the_loss_of_a_distillation_token() -> None:
    line = ["kd_distill_type=token", "task_loss_weight=0.5", "num_classes=10", "kd_temperature=3"]
    soft = ["loss.deit.tau=3", "loss.deit.kind=soft", "loss.deit.weight=5", "hard_weight=0.5"]
    assert translate("timm", line).words == ["loss=deit", *soft]
    hard = ["loss.deit.kind=hard", "loss.deit.weight=0.5", "hard_weight=0.5"]
    assert translate("timm", [*line, "kd_token_distill_type=hard"]).words == ["loss=deit", *hard]


def test_the_args_yaml_of_timm_is_read(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text(
        "kd_temperature: 2.0\namp: true\nepochs: null\ncrop_pct: ''\n"
    )
    words, notes = translate("timm", ["-c", f"{tmp_path}/args.yaml", "--task-loss-weight", "0.5"])
    assert words == ["loss=kl", "T=2", "loss.kl.weight=0.5", "hard_weight=0.5"]
    assert notes[-1] == "not translated: amp=True"


def torchdistill_config(folder: Path, criterion: str) -> list[str]:
    (folder / "kd.yaml").write_text(f"train:\n  criterion: {criterion}\n")
    return [f"--config={folder}/kd.yaml"]


def test_the_criteria_of_torchdistill_are_added(tmp_path: Path) -> None:
    kd = "{key: KDLoss, kwargs: {temperature: 4.0, alpha: 0.5, beta: null}}"
    ce = "{key: CrossEntropyLoss, kwargs: {label_smoothing: 0.0}}"
    terms = f"{{kd: {{criterion: {kd}, weight: 2.0}}, ce: {{criterion: {ce}, weight: 0.25}}}}"
    whole = f"{{key: WeightedSumLoss, kwargs: {{sub_terms: {terms}}}}}"
    words, _ = translate("torchdistill", torchdistill_config(tmp_path, whole))
    assert words == ["loss=kl", "T=4", "loss.kl.weight=1", "hard_weight=1.25"]


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("{key: CRDLoss}", "a criterion of config must be one of KDLoss, LogitStdKDLoss, "),
        ("{key: KDLoss, kwargs: {temperature: 4.0}}", "alpha must be given"),
        ("", "config must have train.criterion with key and kwargs, of one stage, got "),
        ("KDLoss", "config must have train.criterion with key and kwargs, of one stage, got "),
        (
            "{key: WeightedSumLoss, kwargs: {sub_terms: {}, model_term: {weight: 1.0}}}",
            "a key of WeightedSumLoss must be one of key, kwargs, sub_terms, got model_term",
        ),
        ("{key: WeightedSumLoss, kwargs: {}}", "config must have train.criterion with key and"),
    ],
)
def test_a_config_without_such_a_criterion_is_refused(
    tmp_path: Path, criterion: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        translate("torchdistill", torchdistill_config(tmp_path, criterion))
    assert message in str(caught.value)


def test_label_smoothing_of_torchdistill_is_that_of_the_hard_term() -> None:
    words = translate("torchdistill", [*KD, "label_smoothing=0.1"]).words
    assert words[-1] == "hard.label_smoothing=0.1"
    notes = translate("torchdistill", ["alpha=0", "temperature=2", "label_smoothing=0.1"]).notes
    assert notes[-1] == "not translated: label_smoothing=0.1"  # there is no hard term


def test_torchdistills_teacher_is_in_training_mode() -> None:
    notes = translate("torchdistill", KD).notes
    assert any("does not set the teacher to evaluation mode" in note for note in notes)


def test_a_value_is_quoted_where_hydra_requires_it() -> None:
    assert quoted("./save/resnet56_vanilla/x.pth") == "./save/resnet56_vanilla/x.pth"
    assert quoted("my teacher's.pth") == r"'my teacher\'s.pth'"


def test_a_config_is_read_as_utf_8_whatever_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kd.yaml"
    path.write_bytes("# \u03c4\nKD:\n  TEMPERATURE: 3\n".encode())
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, encoding="ascii": read(p, encoding))
    assert "T=3" in translate("mdistiller", ["--cfg", str(path)]).words


def test_a_config_that_holds_a_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kd.yaml"
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match=r"cfg must be a yaml file, got .*: it holds a list"):
        translate("mdistiller", ["--cfg", str(path)])
