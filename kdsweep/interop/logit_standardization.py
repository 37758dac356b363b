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
ITS_METHODS: Mapping[str, Method] = {**METHODS, "KD": Method("kl", KD)}
STANDARDIZED = ("KD", "DKD")  # the others have no standardised logits


def logit_standardization(options: Options) -> Translation:
    """mdistiller's objective, and with --logit-stand the T and the weight that are given with it.

    --kd-weight replaces the weight of KL, and multiplies both parts of DKD.
    """
    kind = options.text("DISTILLER.TYPE")
    words = _loss(kind, options)
    recipe, notes = recipe_words(options)
    return options.translation([*recipe, *words], [*ITS_METHODS[kind].notes, *notes])


def _loss(kind: str, options: Options) -> list[str]:
    method = ITS_METHODS[kind]
    if kind not in STANDARDIZED:
        return method_words(method, options)
    standardize = [f"loss.{method.term}.standardize=true"]
    if options.flag("logit_stand"):
        return _with_the_flag(kind, options) + standardize
    always = options.text("EXPERIMENT.LOGIT_STAND", ("False", "True")) == "True"
    return method_words(method, options) + (standardize if always else [])


def _with_the_flag(kind: str, options: Options) -> list[str]:
    T, weight = options.temperature("base_temp"), options.weight("kd_weight")
    if kind == "KD":
        return distillation("kl", T=T, soft=weight, hard=options.weight("KD.LOSS.CE_WEIGHT"))
    words = ["loss=dkd", f"T={number(T)}"]
    factors = {"DKD.ALPHA": weight, "DKD.BETA": weight}
    for name in ("DKD.ALPHA", "DKD.BETA", "DKD.WARMUP", "DKD.CE_WEIGHT"):
        template, _ = mdistiller.DKD[name]
        words.append(template.format(number(factors.get(name, 1.0) * options.number(name))))
    return words


def command_line(given: Given) -> CommandLine:
    """mdistiller's options and its own."""
    base = mdistiller.command_line(given, ITS_METHODS)
    own: dict[str, float | str | None] = {
        "base_temp": 2.0,
        "kd_weight": 9.0,
        "EXPERIMENT.LOGIT_STAND": "False",
    }
    return replace(base, values={**base.values, **own}, flags=(*base.flags, "logit_stand"))
