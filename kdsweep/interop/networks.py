"""The networks of RepDistiller and of the repositories that are based on it."""

from collections.abc import Mapping

from kdsweep.common.conf import CONF
from kdsweep.interop.options import one_of

# Their names there and here; the others have the same name
NAMES: Mapping[str, str] = {
    **{name: name for name in ("resnet8", "resnet14", "resnet20", "resnet32", "resnet44")},
    **{name: name for name in ("resnet56", "resnet110", "resnet8x4", "resnet32x4")},
    "ResNet50": "resnet50",
    "wrn_16_2": "wrn16_2",
    "wrn_40_1": "wrn40_1",
    "wrn_40_2": "wrn40_2",
    **{name: name for name in ("vgg8", "vgg11", "vgg13", "vgg16", "vgg19")},
    "MobileNetV2": "mobilenetv2",
    "ShuffleV1": "shufflenetv1",
    "ShuffleV2": "shufflenetv2",
}
SLOW = ("mobilenetv2", "shufflenetv1", "shufflenetv2")  # trained at 0.01 there, the others at 0.05


def network(option: str, name: str) -> str:
    """The name here of a network there. Raises UserError for an unknown one."""
    one_of(option, name, NAMES)
    return NAMES[name]


def cifar100(teacher: str, student: str) -> list[str]:
    """The overrides for the recipe of their CIFAR-100 tables with these networks, named as here."""
    pair = f"{teacher}_{student}"
    if (CONF / "experiment" / "pair" / f"{pair}.yaml").exists():
        return ["experiment=base/cifar100", f"experiment/pair={pair}"]
    lr = 0.01 if student in SLOW else 0.05
    # The figures of the pair that the recipe has by default are not those of these networks.
    words = [f"teacher={teacher}", f"student={student}", f"optimizer.lr={lr}", "~published"]
    return ["experiment=base/cifar100", *words]
