"""Names of features of timm's networks, by family: `${pairs:...}` needs no module paths of them.

Maps are those at strides 4, 8, 16 and 32, the last before the pooling; of networks with a class
token or with tokens throughout, four rows of tokens (B, tokens, D), at the depths of OFA. The
embedding is the vector that the classifier takes. Nothing is imported from timm: a name decides.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Of the maps of own vision transformers, counted in blocks from 1: 2, 4, 10, 12 of 12.
DEPTHS = (1 / 6, 1 / 3, 5 / 6, 1)
# Blocks by the size in the name of a transformer.
BLOCKS = {
    **dict.fromkeys(("tiny", "small", "medium", "base", "betwixt"), 12),
    **{"little": 14, "so150m": 18, "so150m2": 21, "large": 24, "so400m": 27},
    **{"huge": 32, "giant": 40, "gigantic": 48, "s": 8, "b": 12, "l": 24},
}
# Of VGG: all pools but the first.
VGG = {
    "vgg11": (5, 10, 15, 20),
    "vgg13": (9, 14, 19, 24),
    "vgg16": (9, 16, 23, 30),
    "vgg19": (9, 18, 27, 36),
    "vgg11_bn": (7, 14, 21, 28),
    "vgg13_bn": (13, 20, 27, 34),
    "vgg16_bn": (13, 23, 33, 43),
    "vgg19_bn": (13, 26, 39, 52),
}


class Features(NamedTuple):
    """What a network offers, as `features` of a config do."""

    maps: tuple[str, ...] | None
    embedding: str
    hint: str
    before_relu: tuple[str, ...] | None = None


def timm_features(name: str) -> Features | None:
    """The features of timm's network of a name, `resnet18.a1_in1k`; None if its family has none."""
    plain = name.partition(".")[0].removeprefix("tf_")
    for pattern, features_of in FAMILIES:
        if (match := re.fullmatch(pattern, plain)) is not None:
            return features_of(match)
    return None


def _maps(
    paths: Sequence[str], embedding: str, *, has_relu: bool = False
) -> Callable[[re.Match[str]], Features]:
    """A family whose maps are at the same paths in all of its networks; the hint is the second."""
    before = tuple(f"{path}:before_relu" for path in paths) if has_relu else None
    features = Features(tuple(paths), embedding, paths[1], before)
    return lambda match: features


def _blocks(embedding: str) -> Callable[[re.Match[str]], Features]:
    """A family of transformers, whose depth is that of the size in a name."""

    def features(match: re.Match[str]) -> Features:
        depth = BLOCKS.get(match["size"])
        paths = None if depth is None else tuple(block_paths(depth, "blocks"))
        return Features(paths, embedding, embedding)

    return features


def _vgg(match: re.Match[str]) -> Features:
    paths = tuple(f"features.{layer}" for layer in VGG[match[0]])
    return Features(paths, "head.global_pool", paths[1])


def block_paths(depth: int, parent: str) -> list[str]:
    """Four of the blocks of a transformer: `blocks.1`, `blocks.3`, `blocks.9`, `blocks.11`."""
    return [f"{parent}.{max(0, round(depth * share) - 1)}" for share in DEPTHS]


def _numbered(parent: str, *numbers: int) -> list[str]:
    return [f"{parent}.{number}" for number in numbers]


LAYERS = ["layer1", "layer2", "layer3", "layer4"]
STAGES = _numbered("stages", 0, 1, 2, 3)
POOLED = "head.global_pool"
BUILT = r"\d+(ts|q|_mlp|(x\d+)?_clip)"  # of a general builder, with other names of modules
SIZE = r"(?P<size>[a-z0-9]+)"

FAMILIES: tuple[tuple[str, Callable[[re.Match[str]], Features]], ...] = (
    # Tokens
    (rf"deit_{SIZE}_distilled_.*", _blocks("head:input")),
    (
        rf"(vit|deit|deit3|beit|beitv2|eva|eva02)_{SIZE}_(plus_)?patch(?!.*_\d+x\d).*",
        _blocks("head_drop"),
    ),
    (r"mixer_(?P<size>[sbl])\d\d_.*", _blocks("head_drop")),
    (r"levit_\d.*", _maps(_numbered("stages", 0, 1, 2), "head:input")),
    # Maps
    (r"levit_conv_.*", _maps(_numbered("stages", 0, 1, 2), "head:input")),
    (
        rf"(resnet|resnext|wide_resnet|seresnet|seresnext|ecaresnet|res2net|res2next)(?!{BUILT})\d.*",
        _maps(LAYERS, "global_pool", has_relu=True),
    ),
    (r"(convnext|convnextv2)_.*", _maps(STAGES, "head.flatten")),
    (
        r"(swin|swinv2)_(?!cr_).*",
        _maps([f"layers.{n}:channels_first" for n in range(4)], POOLED),
    ),
    (r"mobilenetv2_.*", _maps(_numbered("blocks", 1, 2, 4, 6), "global_pool")),
    (r"mobilenetv3_(small|rw_small)_.*", _maps(_numbered("blocks", 0, 1, 3, 5), "flatten")),
    (r"mobilenetv3_.*", _maps(_numbered("blocks", 1, 2, 4, 6), "flatten")),
    (r"mobilenetv4_.*", _maps(_numbered("blocks", 0, 1, 2, 4), "flatten")),
    (
        r"efficientnet(_e[sml]|v2_(b\d|s|rw_[tsm]))(_.*)?",
        _maps(_numbered("blocks", 1, 2, 4, 5), "global_pool"),
    ),
    (
        r"(efficientnet|efficientnetv2|tinynet)_.*",
        _maps(_numbered("blocks", 1, 2, 4, 6), "global_pool"),
    ),
    (r"fastvit_.*", _maps(STAGES, POOLED)),
    (r"(regnetx|regnety|regnetz|regnetv)_\d.*", _maps(["s1", "s2", "s3", "s4"], POOLED)),
    (r"(repvgg|regnetz)_[a-z].*", _maps(STAGES, POOLED)),
    (r"(mobilevit|mobilevitv2)_.*", _maps(_numbered("stages", 1, 2, 3, 4), POOLED)),
    (r"ghostnet_.*", _maps(_numbered("blocks", 2, 4, 6, 9), "flatten")),
    (r"densenet.*", _maps([f"features.denseblock{n}" for n in (1, 2, 3, 4)], "global_pool")),
    (r"vgg\d\d(_bn)?", _vgg),
)
