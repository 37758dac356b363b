"""Compression toolkits: the arguments of their losses, and the options of IntelLabs/distiller."""

from kdsweep.interop.options import CommandLine, Options
from kdsweep.interop.translation import Translation, distillation

KD_LIB = CommandLine(
    values={"temp": 20.0, "distil_weight": 0.5, "loss_fn": "MSELoss", "epochs": 20.0},
    others=("device", "log", "logdir", "plot_losses", "save_model", "save_model_pth"),
)


def kd_lib(options: Options) -> Translation:
    """(1 - w) CE + w T^2 MSE of probabilities; the arguments of VanillaKD and train_student."""
    options.text("loss_fn", ("MSELoss",))
    T, weight = options.temperature("temp"), options.number("distil_weight")
    notes = ["KD_Lib compares probabilities, and its MSE is twice mse_probs"]
    words = distillation("mse_probs", T=T, soft=2 * weight, hard=1 - weight)
    return options.translation(words + options.overrides({"epochs": "trainer.epochs={}"}), notes)


# Those of examples/classifier_compression/compress_classifier.py that have no part in the loss
DISTILLER_LEFT_OUT = """
arch a workers j lr learning_rate momentum weight_decay wd print_freq p resume resume_from
exp_load_weights_from activation_histograms act_hist summary export_onnx compress seed gpus name n
out_dir o validation_split valid_size vs effective_train_size etrs effective_valid_size evs
effective_test_size etes num_best_scores earlyexit_lossweights earlyexit_thresholds kd_teacher
kd_resume
"""
DISTILLER_FLAGS = """
kd_pretrained pretrained reset_optimizer evaluate e deterministic det cpu confusion
load_serialized verbose v masks_sparsity param_hist thinnify save_untrained_model
"""
DISTILLER = CommandLine(
    values={
        "kd_temp": 1.0,
        "kd_distill_wt": 0.5,
        "kd_student_wt": 0.5,
        "kd_teacher_wt": 0.0,
        "kd_start_epoch": 0.0,
        "epochs": 90.0,
        "batch_size": 256.0,
    },
    aliases={
        "kd_temperature": "kd_temp",
        "kd_dw": "kd_distill_wt",
        "kd_sw": "kd_student_wt",
        "kd_tw": "kd_teacher_wt",
        "b": "batch_size",
    },
    flags=tuple(DISTILLER_FLAGS.split()),
    lists=("activation_stats", "act_stats"),
    others=tuple(DISTILLER_LEFT_OUT.split()),
    positional="data",
)


def distiller(options: Options) -> Translation:
    """student_wt CE + distill_wt KL; the --kd- options."""
    options.fixed("kd_teacher_wt", "kd_start_epoch")
    soft, hard = options.number("kd_distill_wt"), options.number("kd_student_wt")
    words = distillation("kl", T=options.temperature("kd_temp"), soft=soft, hard=hard)
    words += options.overrides(
        {"epochs": "trainer.epochs={}", "batch_size": "trainer.batch_size={}"}
    )
    notes = ["early versions of Distiller have no T^2: divide the weight of kl by it"]
    return options.translation(words, notes)


MMRAZOR = CommandLine(
    {"tau": 1.0, "loss_weight": 1.0, "reduction": "batchmean", "teacher_detach": "True"}
)


def mmrazor(options: Options) -> Translation:
    """CE + loss_weight KL; the arguments of KLDivergence in a config."""
    options.fixed("reduction", "teacher_detach")
    T, soft = options.temperature("tau"), options.number("loss_weight")
    return options.translation(distillation("kl", T=T, soft=soft, hard=1.0))


MODELOPT = CommandLine({"kd_loss_weight": 0.5, "temperature": 1.0, "reduction": "batchmean"})


def modelopt(options: Options) -> Translation:
    """w KL + (1 - w) CE; of StaticLossBalancer and LogitsDistillationLoss."""
    options.fixed("reduction")
    T, soft = options.temperature("temperature"), options.number("kd_loss_weight")
    return options.translation(distillation("kl", T=T, soft=soft, hard=1 - soft))
