"""Translation of the options of other repositories into overrides for train.py.

One function per repository, which takes its options by their names there. What a loss consists of
besides weights and temperatures is in docs/losses.md.
"""

from collections.abc import Callable, Sequence

from kdsweep.errors import UserError
from kdsweep.interop.mdistiller import mdistiller
from kdsweep.interop.options import Given, Known, one_of, options, parse_options, required
from kdsweep.interop.translation import Translation, distillation, number


def translate(source: str, words: Sequence[str]) -> Translation:
    """The overrides that are equivalent to ``words`` in the repository ``source``.

    ``words`` are options in any of the forms ``alpha=0.9``, ``--alpha 0.9`` and ``alpha 0.9``.

    Raises UserError for an unknown repository or option, and for an invalid value.
    """
    one_of("--from", source, REPOSITORIES)
    return REPOSITORIES[source](parse_options(words))


# RepDistiller's --distill: the term here, in addition to kl
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

# Those that pretrain the student: the stages here
STAGES = {"abound": "boundaries", "fsp": "flow"}
# Those that pretrain a part of their loss: the additional overrides
STAGES_OF_TERM = {"factor": ["stages=factors", "loss.ft.learns=translator"]}


def repdistiller(given: Given) -> Translation:
    """gamma CE + alpha KL + beta feature term; train_student.py's options."""
    known: Known = {"distill": "kd", "gamma": 1.0, "alpha": None, "beta": None, "kd_T": 4.0}
    chosen = options(given, known, {"r": "gamma", "a": "alpha", "b": "beta"})
    one_of("distill", chosen["distill"], (*FEATURE_TERMS, *STAGES))
    if (stages := STAGES.get(chosen["distill"])) is not None:
        return Translation([f"stages={stages}", "loss=ce"], ["a stage first, then labels alone"])
    feature, alpha = FEATURE_TERMS[chosen["distill"]], required(chosen, "alpha")
    if feature is None:
        return distillation("kl", T=chosen["kd_T"], soft=alpha, hard=chosen["gamma"])
    weighted = [f"loss.{feature}.weight={number(required(chosen, 'beta'))}"]
    weighted += [f"hard_weight={number(chosen['gamma'])}"]
    weighted += STAGES_OF_TERM.get(chosen["distill"], [])
    if alpha == 0:
        return Translation([f"loss={feature}", *weighted], [])
    soft = [f"T={number(chosen['kd_T'])}", f"loss.kl.weight={number(alpha)}"]
    return Translation([f"loss=[kl,{feature}]", *soft, *weighted], [])


def torchdistill(given: Given) -> Translation:
    """alpha CE + beta KL, beta = 1 - alpha; the criterion's key and kwargs."""
    known: Known = {"key": "KDLoss", "temperature": None, "alpha": None, "beta": None}
    chosen = options(given, known)
    one_of("key", chosen["key"], ("KDLoss", "LogitStdKDLoss"))
    T, beta = required(chosen, "temperature"), chosen["beta"]
    alpha = required(chosen, "alpha") if beta is None else chosen["alpha"] or 0.0
    notes = ["alpha weighs the hard part in torchdistill"]
    if alpha == 0:
        if T <= 0:
            raise UserError(f"temperature must be > 0, got {number(T)}")
        beta = 1 / T**2
        notes = ["torchdistill leaves T^2 and beta out when alpha is 0: weight 1 / T^2"]
    soft = 1 - alpha if beta is None else beta
    translation = distillation("kl", T=T, soft=soft, hard=alpha, notes=notes)
    if chosen["key"] == "LogitStdKDLoss":
        translation.words.append("loss.kl.standardize=true")
    return translation


def timm(given: Given) -> Translation:
    """Its train.py's options, and those of LogitDistillationTask."""
    known: Known = {"task_loss_weight": None, "distill_loss_weight": None, "kd_temperature": 4.0}
    chosen = options(given, known, {"temperature": "kd_temperature"})
    hard, soft = chosen["task_loss_weight"], chosen["distill_loss_weight"]
    notes = ["without distill_loss_weight timm takes 1 - task_loss_weight"]
    if soft is None and hard is not None:
        return distillation("kl", T=chosen["kd_temperature"], soft=1 - hard, hard=hard, notes=notes)
    soft, hard = (1.0 if weight is None else weight for weight in (soft, hard))
    return distillation("kl", T=chosen["kd_temperature"], soft=soft, hard=hard)


def kd_pytorch(given: Given) -> Translation:
    """alpha soft + (1 - alpha) CE; trainer.py's options."""
    chosen = options(given, {"alpha": 1.0, "T": 1.0, "kd_mode": "cse"})
    terms = {"cse": "soft_ce", "mse": "mse_probs"}
    one_of("kd_mode", chosen["kd_mode"], terms)
    term, alpha = terms[chosen["kd_mode"]], chosen["alpha"]
    notes = ["KD-pytorch's teacher stays in training mode; here it never is"]
    return distillation(term, T=chosen["T"], soft=alpha, hard=1 - alpha, notes=notes)


def kd_lib(given: Given) -> Translation:
    """(1 - w) CE + w T^2 MSE of probabilities; the arguments of VanillaKD."""
    chosen = options(given, {"temp": 20.0, "distil_weight": 0.5, "loss_fn": "MSELoss"})
    one_of("loss_fn", chosen["loss_fn"], ("MSELoss",))
    T, weight = chosen["temp"], chosen["distil_weight"]
    notes = ["KD_Lib compares probabilities, and its MSE is twice mse_probs"]
    return distillation("mse_probs", T=T, soft=2 * weight, hard=1 - weight, notes=notes)


def distiller(given: Given) -> Translation:
    """student_wt CE + distill_wt KL; the --kd- options of IntelLabs/distiller."""
    known: Known = {"kd_temp": 1.0, "kd_distill_wt": 0.5, "kd_student_wt": 0.5}
    aliases = {"kd_temperature": "kd_temp", "kd_dw": "kd_distill_wt", "kd_sw": "kd_student_wt"}
    chosen = options(given, known, aliases)
    soft, hard = chosen["kd_distill_wt"], chosen["kd_student_wt"]
    notes = ["early versions of Distiller have no T^2: divide the weight of kl by it"]
    return distillation("kl", T=chosen["kd_temp"], soft=soft, hard=hard, notes=notes)


def mmrazor(given: Given) -> Translation:
    """CE + loss_weight KL; the arguments of KLDivergence."""
    chosen = options(given, {"tau": 1.0, "loss_weight": 1.0})
    return distillation("kl", T=chosen["tau"], soft=chosen["loss_weight"], hard=1.0)


def modelopt(given: Given) -> Translation:
    """w KL + (1 - w) CE; of StaticLossBalancer and LogitsDistillationLoss."""
    chosen = options(given, {"kd_loss_weight": 0.5, "temperature": 1.0})
    soft = chosen["kd_loss_weight"]
    return distillation("kl", T=chosen["temperature"], soft=soft, hard=1 - soft)


REPOSITORIES: dict[str, Callable[[Given], Translation]] = {
    "repdistiller": repdistiller,
    "torchdistill": torchdistill,
    "mdistiller": mdistiller,
    "timm": timm,
    "kd-pytorch": kd_pytorch,
    "kd_lib": kd_lib,
    "distiller": distiller,
    "mmrazor": mmrazor,
    "modelopt": modelopt,
}
