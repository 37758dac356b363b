"""mdistiller (megvii-research): a key of its configs corresponds to each override."""

from kdsweep.interop.options import Given, Known, one_of, options
from kdsweep.interop.translation import Translation, number


def feature_options(method: str, term: str, weight: float) -> dict[str, tuple[str, float]]:
    return {
        f"{method}.LOSS.CE_WEIGHT": ("hard_weight={}", 1.0),
        f"{method}.LOSS.FEAT_WEIGHT": (f"loss.{term}.weight={{}}", weight),
    }


# DISTILLER.TYPE: term here, and the override and default of each option
METHODS = {
    "KD": (
        "kl",
        {
            "KD.TEMPERATURE": ("T={}", 4.0),
            "KD.LOSS.KD_WEIGHT": ("loss.kl.weight={}", 0.9),
            "KD.LOSS.CE_WEIGHT": ("hard_weight={}", 0.1),
        },
    ),
    "DKD": (
        "dkd",
        {
            "DKD.T": ("T={}", 4.0),
            "DKD.ALPHA": ("loss.dkd.alpha={}", 1.0),
            "DKD.BETA": ("loss.dkd.beta={}", 8.0),
            "DKD.WARMUP": ("loss.dkd.schedule={{warmup:{}}}", 20.0),
            "DKD.CE_WEIGHT": ("hard_weight={}", 1.0),
        },
    ),
    "REVIEWKD": (
        "review",
        {
            "REVIEWKD.REVIEWKD_WEIGHT": ("loss.review.weight={}", 1.0),
            "REVIEWKD.WARMUP_EPOCHS": ("loss.review.schedule={{warmup:{}}}", 20.0),
            "REVIEWKD.CE_WEIGHT": ("hard_weight={}", 1.0),
        },
    ),
    "RKD": (
        "rkd",
        {
            "RKD.DISTANCE_WEIGHT": ("loss.rkd.distance_weight={}", 25.0),
            "RKD.ANGLE_WEIGHT": ("loss.rkd.angle_weight={}", 50.0),
            **feature_options("RKD", "rkd", 1.0),
        },
    ),
    "CRD": (
        "crd",
        {
            "CRD.NCE.K": ("loss.crd.negatives={}", 16384.0),
            "CRD.NCE.TEMPERATURE": ("loss.crd.temperature={}", 0.07),
            "CRD.NCE.MOMENTUM": ("loss.crd.momentum={}", 0.5),
            "CRD.FEAT.DIM": ("loss.crd.dim={}", 128.0),
            **feature_options("CRD", "crd", 0.8),
        },
    ),
    "FITNET": ("fitnet", feature_options("FITNET", "fitnet", 100.0)),
    "AT": ("at", feature_options("AT", "at", 1000.0)),
    "OFD": ("ofd", feature_options("OFD", "ofd", 0.001)),
    "NST": ("nst", feature_options("NST", "nst", 50.0)),
    "PKT": ("pkt", feature_options("PKT", "pkt", 30000.0)),
    "SP": ("sp", feature_options("SP", "sp", 3000.0)),
    "VID": ("vid", feature_options("VID", "vid", 1.0)),
}


def mdistiller(given: Given) -> Translation:
    """The keys of its configs; DISTILLER.TYPE defaults to the prefix of the first key."""
    first = next(iter(given), "KD").partition(".")[0]
    kind = given.get("DISTILLER.TYPE", first)
    one_of("DISTILLER.TYPE", kind, METHODS)
    term, overrides = METHODS[kind]
    known: Known = {
        "DISTILLER.TYPE": kind,
        **{name: default for name, (_, default) in overrides.items()},
    }
    chosen = options(given, known)
    words = [template.format(number(chosen[name])) for name, (template, _) in overrides.items()]
    return Translation([f"loss={term}", *words], [])
