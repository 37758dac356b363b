"""logit-standardization-KD (sunshangquan): mdistiller with standardised logits."""

from collections.abc import Mapping
from dataclasses import replace

from kdsweep.interop import mdistiller
from kdsweep.interop.mdistiller import METHODS, Method, method_words, recipe_words
from kdsweep.interop.options import CommandLine, Given, Options
from kdsweep.interop.translation import Translation, distillation, number

KD = {
    **mdistiller.KD,
    "KD.TEMPERATURE": ("T={}", 2.0),
    "KD.LOSS.KD_WEIGHT": ("loss.kl.weight={}", 9.0),
}
ITS_METHODS: Mapping[str, Method] = {**METHODS, "KD": Method("kl", KD), "MLKD": Method("mlkd", KD)}
STANDARDIZED = ("KD", "DKD", "MLKD")  # the others have no standardised logits
# MLKD's temperatures besides its T; those at which the strong view is not compared come last
OF_BOTH_VIEWS, OF_WEAK_VIEW = (3.0, 5.0), (2.0, 6.0)
STRONG_VIEW = 2  # operations of RandAugment


def logit_standardization(options: Options) -> Translation:
    """mdistiller's objective, and with --logit-stand the T and the weight that are given with it.

    --kd-weight replaces the weight of KL and of MLKD, and multiplies both parts of DKD.
    """
    kind = options.text("DISTILLER.TYPE")
    words = _loss(kind, options)
    recipe, notes = recipe_words(options, ("ours",) if kind == "MLKD" else mdistiller.TRAINERS)
    return options.translation([*recipe, *words], [*ITS_METHODS[kind].notes, *notes])


def _loss(kind: str, options: Options) -> list[str]:
    method = ITS_METHODS[kind]
    if kind not in STANDARDIZED:
        return method_words(method, options)
    standardize = [f"loss.{method.term}.standardize=true"]
    if options.flag("logit_stand"):
        return _with_the_flag(kind, options) + standardize
    always = options.text("EXPERIMENT.LOGIT_STAND", ("False", "True")) == "True"
    if kind == "MLKD":
        T, weight = options.temperature("KD.TEMPERATURE"), options.weight("KD.LOSS.KD_WEIGHT")
        words = _mlkd(T, weight, options)
    else:
        words = method_words(method, options)
    return words + (standardize if always else [])


def _with_the_flag(kind: str, options: Options) -> list[str]:
    T, weight = options.temperature("base_temp"), options.weight("kd_weight")
    if kind == "KD":
        return distillation("kl", T=T, soft=weight, hard=options.weight("KD.LOSS.CE_WEIGHT"))
    if kind == "MLKD":
        return _mlkd(T, weight, options)
    words = ["loss=dkd", f"T={number(T)}"]
    factors = {"DKD.ALPHA": weight, "DKD.BETA": weight}
    for name in ("DKD.ALPHA", "DKD.BETA", "DKD.WARMUP", "DKD.CE_WEIGHT"):
        template, _ = mdistiller.DKD[name]
        words.append(template.format(number(factors.get(name, 1.0) * options.number(name))))
    return words


def _mlkd(T: float, weight: float, options: Options) -> list[str]:
    """Its five temperatures, and CE_WEIGHT on each of two views: our hard term is their mean."""
    strong = [1.0, *(temperature / T for temperature in OF_BOTH_VIEWS)]
    factors = [*strong, *(temperature / T for temperature in OF_WEAK_VIEW)]
    return [
        "loss=mlkd",
        f"T={number(T)}",
        f"loss.mlkd.factors=[{','.join(map(number, factors))}]",
        f"loss.mlkd.strong_factors=[{','.join(map(number, strong))}]",
        f"loss.mlkd.weight={number(weight)}",
        f"hard_weight={number(2 * options.weight('KD.LOSS.CE_WEIGHT'))}",
        f"dataset.augment.strong_view={STRONG_VIEW}",
    ]


def command_line(given: Given) -> CommandLine:
    """mdistiller's options and its own."""
    base = mdistiller.command_line(given, ITS_METHODS)
    own: dict[str, float | str | None] = {
        "base_temp": 2.0,
        "kd_weight": 9.0,
        "EXPERIMENT.LOGIT_STAND": "False",
    }
    if base.values["DISTILLER.TYPE"] == "MLKD":
        own["SOLVER.TRAINER"] = "ours"
    return replace(base, values={**base.values, **own}, flags=(*base.flags, "logit_stand"))
