"""timm (huggingface/pytorch-image-models): its train.py, and the arguments of its tasks."""

from kdsweep.errors import UserError
from kdsweep.interop.options import CommandLine, Options
from kdsweep.interop.translation import Translation, distillation, number, quoted, weights

# The options of train.py that have no part in the loss, and no equal here
LEFT_OUT = """
train_split val_split train_num_samples val_num_samples class_map input_img_mode input_key
target_key dataset data_dir resume gp img_size in_chans crop_pct interpolation validation_batch_size
vb fuser head_init_scale head_init_bias torchcompile_mode torchcompile device amp_dtype amp_impl
model_dtype opt opt_eps momentum weight_decay layer_decay_min_scale layer_decay_no_opt_scale sched
lr lr_base lr_base_size lr_base_scale lr_noise_pct lr_noise_std lr_cycle_mul lr_cycle_decay
lr_cycle_limit lr_k_decay warmup_lr min_lr epoch_repeats start_epoch decay_epochs warmup_epochs
cooldown_epochs patience_epochs decay_rate dr train_crop_mode hflip vflip color_jitter
color_jitter_prob grayscale_prob gaussian_blur_prob aa aug_repeats aug_splits reprob remode recount
mixup cutmix mixup_prob mixup_switch_prob mixup_mode mixup_off_epoch train_interpolation drop
drop_connect drop_block bn_momentum bn_eps dist_bn worker_seeding log_interval val_interval
recovery_interval checkpoint_hist workers j output experiment eval_metric tta local_rank
wandb_project wandb_resume_id train_size_schedule train_size_schedule_spread train_size_random_mix
train_batches_per_epoch train_steps_per_epoch variable_batch_loss_scale naflex_max_seq_len
naflex_loss_scale kd_student_feature_dim kd_teacher_feature_dim
"""
FLAGS = """
pretrained bce_loss jsd_loss bce_sum dataset_download dataset_trust_remote_code no_resume_opt
channels_last grad_checkpointing fast_norm torchscript amp no_ddp_bb synchronize_step
sched_on_updates warmup_prefix no_aug resplit sync_bn split_bn model_ema model_ema_force_cpu
model_ema_warmup save_images pin_mem no_prefetcher use_multi_epochs_loader log_wandb naflex_loader
naflex_patchify_channels_first
"""
LISTS = """
input_size mean std model_kwargs opt_betas opt_kwargs lr_noise decay_milestones scale ratio
cutmix_minmax wandb_tags train_img_sizes train_batch_sizes train_size_probs device_modules
naflex_train_seq_lens naflex_patch_sizes naflex_patch_size_probs
"""
COMMAND = CommandLine(
    values={
        "task_loss_weight": None,
        "distill_loss_weight": None,
        "kd_temperature": 4.0,
        "kd_model_name": "",
        "kd_distill_type": "logit",
        "kd_loss_type": "kl",
        "kd_token_distill_type": "soft",
        "num_classes": None,
        "smoothing": 0.1,
        "model": "resnet50",
        "pretrained_path": "",
        "initial_checkpoint": "",
        "drop_path": None,
        "layer_decay": None,
        "grad_accum_steps": 1.0,
        "clip_grad": None,
        "clip_mode": "norm",
        "model_ema_decay": 0.9998,
        "epochs": 300.0,
        "batch_size": 128.0,
        "seed": 42.0,
        "config": "",
    },
    aliases={
        "temperature": "kd_temperature",
        "loss_type": "kd_loss_type",
        "b": "batch_size",
        "c": "config",
    },
    flags=tuple(FLAGS.split()),
    lists=tuple(LISTS.split()),
    others=tuple(LEFT_OUT.split()),
    positional="data",
)
OVERRIDES = {
    "epochs": "trainer.epochs={}",
    "batch_size": "trainer.batch_size={}",
    "seed": "seed={}",
    "drop_path": "student.drop_path={}",
    "layer_decay": "trainer.layer_decay={}",
    "grad_accum_steps": "trainer.accumulate={}",
}


def timm(options: Options) -> Translation:
    """The task's weight times CE, plus the distillation's weight times KL or the features' MSE.

    With --kd-model-name the options are those of its train.py, which smooths labels by default.
    """
    notes: list[str] = []
    words = _networks(options, notes) + _loss(options, notes) + options.overrides(OVERRIDES)
    return options.translation(words + _clipping(options) + _average(options), notes)


def _loss(options: Options, notes: list[str]) -> list[str]:
    for flag in ("bce_loss", "jsd_loss", "bce_sum"):
        if options.flag(flag):
            raise UserError(f"{flag} must not be given, the hard term here is a cross-entropy")
    soft, hard = _weights(options, notes)
    kind = options.text("kd_distill_type", ("logit", "feature", "token"))
    if kind == "token":
        words = _of_token(options, soft, hard)
    elif kind == "logit":
        options.text("kd_loss_type", ("kl",))
        words = distillation("kl", T=options.temperature("kd_temperature"), soft=soft, hard=hard)
    else:
        notes.append("timm has no linear layer between features of one size")
        term = ["loss=fitnet", "loss.fitnet.pairs=${pairs:embedding}"]
        words = [*term, f"loss.fitnet.weight={number(soft)}", f"hard_weight={number(hard)}"]
    if options.gives("kd_model_name", "smoothing") and (smoothing := options.number("smoothing")):
        words.append(f"hard.label_smoothing={number(smoothing)}")
    return words


def _of_token(options: Options, soft: float, hard: float) -> list[str]:
    """The loss of a distillation head. A soft one is divided by the classes here, as by DeiT's."""
    words = ["loss=deit"]
    kind = options.text("kd_token_distill_type", ("soft", "hard"))
    if kind == "soft":
        if not options.gives("num_classes"):
            raise UserError(
                "num_classes must be given with kd_token_distill_type=soft, whose loss is so many"
                " times that of loss=deit"
            )
        soft *= options.number("num_classes")
        words.append(f"loss.deit.tau={number(options.temperature('kd_temperature'))}")
    return [*words, f"loss.deit.kind={kind}", *weights("deit", soft=soft, hard=hard)]


def _clipping(options: Options) -> list[str]:
    if not options.gives("clip_grad"):
        return []
    options.text("clip_mode", ("norm",))
    return [f"trainer.grad_clip={number(options.number('clip_grad'))}"]


def _average(options: Options) -> list[str]:
    if not options.flag("model_ema"):
        return []
    words = [f"trainer.ema={number(options.number('model_ema_decay'))}"]
    return [*words, "trainer.ema_warmup=true"] if options.flag("model_ema_warmup") else words


def _weights(options: Options, notes: list[str]) -> tuple[float, float]:
    """Of the distillation and of the labels."""
    hard, soft = options.optional("task_loss_weight"), options.optional("distill_loss_weight")
    if soft is None and hard is not None:
        notes.append("without distill_loss_weight timm takes 1 - task_loss_weight")
        return 1 - hard, hard
    return 1.0 if soft is None else soft, 1.0 if hard is None else hard


def _networks(options: Options, notes: list[str]) -> list[str]:
    words: list[str] = []
    if options.gives("model", "kd_model_name"):
        words += ["student=timm", f"student.model.name={quoted(options.text('model'))}"]
        words += _start(options)
    if options.gives("kd_model_name"):
        name = quoted(options.text("kd_model_name"))
        words += ["teacher=timm", f"teacher.model.name={name}", "teacher.start=DEFAULT"]
        words.append("recipe=zero")
        notes.append(
            "the teacher is used as it is, as by timm, if its classes are those of the data set;"
            " recipe=finetune trains it for others"
        )
        notes.append("optimizer, schedule and augmentation of train.py are not translated")
    return words


def _start(options: Options) -> list[str]:
    """The weights that the student starts from: those that timm loads last."""
    if options.gives("initial_checkpoint"):
        return [f"student.start={quoted(options.text('initial_checkpoint'))}"]
    if options.gives("pretrained_path"):
        return [f"student.start={quoted(options.text('pretrained_path'))}"]
    return ["student.model.pretrained=true"] if options.flag("pretrained") else []
