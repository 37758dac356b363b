"""The networks of RepDistiller and of the repositories that are based on it."""

from collections.abc import Mapping
from typing import NamedTuple

from kdsweep.common.conf import CONF
from kdsweep.interop.options import one_of

RESNETS = ("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
SAME = (*RESNETS, "resnet8x4", "resnet32x4", "vgg8", "vgg11", "vgg13", "vgg19")
# Their names there and here
NAMES: Mapping[str, str] = {
    **dict(zip(SAME, SAME, strict=True)),
    "ResNet50": "resnet50",
    "wrn_16_1": "wrn16_2",
    "wrn_16_2": "wrn16_2",
    "wrn_40_1": "wrn40_1",
    "wrn_40_2": "wrn40_2",
    "vgg16": "vgg13",
    "MobileNetV2": "mobilenetv2",
    "ShuffleV1": "shufflenetv1",
    "ShuffleV2": "shufflenetv2",
}
# Those without a yaml here, and what makes them of another one. Our vgg16 is KD-pytorch's.
FORMS: Mapping[str, tuple[str, ...]] = {
    "wrn_16_1": ("{}.name=wrn16_1", "{}.model.width=1"),
    "vgg16": ("{}.name=vgg16", "{}.model.depth=16"),
}
SLOW = ("mobilenetv2", "shufflenetv1", "shufflenetv2")  # trained at 0.01 there, the others at 0.05


class Network(NamedTuple):
    """A network there: the name of our yaml, and the overrides with which it is that network."""

    name: str
    form: tuple[str, ...] = ()

    def words(self, role: str) -> list[str]:
        """The overrides that select it as the student or the teacher."""
        return [f"{role}={self.name}", *(template.format(role) for template in self.form)]


def network(option: str, name: str) -> Network:
    """The network here for one there. Raises UserError for an unknown one."""
    one_of(option, name, NAMES)
    return Network(NAMES[name], FORMS.get(name, ()))


def cifar100(teacher: Network, student: Network) -> list[str]:
    """The overrides for the recipe of their CIFAR-100 tables with these networks."""
    pair = f"{teacher.name}_{student.name}"
    plain = not (teacher.form or student.form)
    if plain and (CONF / "experiment" / "pair" / f"{pair}.yaml").exists():
        return ["experiment=base/cifar100", f"experiment/pair={pair}"]
    lr = 0.01 if student.name in SLOW else 0.05
    words = [*teacher.words("teacher"), *student.words("student"), f"optimizer.lr={lr}"]
    # The figures of the pair that the recipe has by default are not those of these networks.
    return ["experiment=base/cifar100", *words, "~published"]
