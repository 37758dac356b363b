"""mdistiller (megvii-research): a key of its configs corresponds to each override."""

from kdsweep.interop.options import Given, Known, one_of, options
from kdsweep.interop.translation import Translation, number


def feature_options(method: str, weight: float) -> dict[str, tuple[str, float]]:
    return {
        f"{method}.LOSS.CE_WEIGHT": ("hard_weight={}", 1.0),
        f"{method}.LOSS.FEAT_WEIGHT": (f"loss.{method.lower()}.weight={{}}", weight),
    }


# DISTILLER.TYPE: the override and default of each option
METHODS = {
    "KD": {
        "KD.TEMPERATURE": ("T={}", 4.0),
        "KD.LOSS.KD_WEIGHT": ("loss.kl.weight={}", 0.9),
        "KD.LOSS.CE_WEIGHT": ("hard_weight={}", 0.1),
    },
    "DKD": {
        "DKD.T": ("T={}", 4.0),
        "DKD.ALPHA": ("loss.dkd.alpha={}", 1.0),
        "DKD.BETA": ("loss.dkd.beta={}", 8.0),
        "DKD.WARMUP": ("loss.dkd.schedule={{warmup:{}}}", 20.0),
        "DKD.CE_WEIGHT": ("hard_weight={}", 1.0),
    },
    "REVIEWKD": {
        "REVIEWKD.REVIEWKD_WEIGHT": ("loss.review.weight={}", 1.0),
        "REVIEWKD.WARMUP_EPOCHS": ("loss.review.schedule={{warmup:{}}}", 20.0),
        "REVIEWKD.CE_WEIGHT": ("hard_weight={}", 1.0),
    },
    "RKD": {
        "RKD.DISTANCE_WEIGHT": ("loss.rkd.distance_weight={}", 25.0),
        "RKD.ANGLE_WEIGHT": ("loss.rkd.angle_weight={}", 50.0),
        **feature_options("RKD", 1.0),
    },
    "CRD": {
        "CRD.NCE.K": ("loss.crd.negatives={}", 16384.0),
        "CRD.NCE.TEMPERATURE": ("loss.crd.temperature={}", 0.07),
        "CRD.NCE.MOMENTUM": ("loss.crd.momentum={}", 0.5),
        "CRD.FEAT.DIM": ("loss.crd.dim={}", 128.0),
        **feature_options("CRD", 0.8),
    },
    "FITNET": feature_options("FITNET", 100.0),
    "AT": feature_options("AT", 1000.0),
    "OFD": feature_options("OFD", 0.001),
    "NST": feature_options("NST", 50.0),
    "PKT": feature_options("PKT", 30000.0),
    "SP": feature_options("SP", 3000.0),
    "VID": feature_options("VID", 1.0),
}
TERMS = {"KD": "kl", "REVIEWKD": "review"}  # here; the others have the same name
# The options whose values are words: the overrides of each value
WORDS = {
    "REVIEWKD": {
        "REVIEWKD.STU_PREACT": {
            "False": [],
            "True": ["loss.review.pairs=${pairs:before_relu,embedding}"],
        }
    }
}


def mdistiller(given: Given) -> Translation:
    """The keys of its configs; DISTILLER.TYPE defaults to the prefix of the first key."""
    first = next(iter(given), "KD").partition(".")[0]
    kind = given.get("DISTILLER.TYPE", first)
    one_of("DISTILLER.TYPE", kind, METHODS)
    overrides = METHODS[kind]
    known: Known = {
        "DISTILLER.TYPE": kind,
        **{name: default for name, (_, default) in overrides.items()},
    }
    by_word = WORDS.get(kind, {})
    chosen = options(
        given, {**known, **{name: next(iter(values)) for name, values in by_word.items()}}
    )
    words = [template.format(number(chosen[name])) for name, (template, _) in overrides.items()]
    for name, values in by_word.items():
        one_of(name, chosen[name], values)
        words += values[chosen[name]]
    return Translation([f"loss={TERMS.get(kind, kind.lower())}", *words], [])
