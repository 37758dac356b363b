"""Every own network trains twice to the same bits on the device."""

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from kdsweep.builders.instantiate import instantiate_node
from kdsweep.cli import CONF
from kdsweep.training.arithmetic import put_in_format
from kdsweep.training.checkpoint import sha256

# An operation without a deterministic kernel warns.
pytestmark = [
    pytest.mark.usefixtures("kernels"),
    pytest.mark.filterwarnings("error:.*deterministic"),
]

NARROW = {
    **{name: {} for name in ("mlp", "cnn", "convnet4", "resnet8", "resnet8x4", "wrn16_2")},
    **{name: {} for name in ("mobilenetv2", "shufflenetv1", "shufflenetv2", "lightnn")},
    **{name: {"width": 0.125} for name in ("resnet50", "vgg8", "vgg11", "resnet18_cifar")},
    "vit_tiny": {"width": 24, "depth": 2, "drop_path": 0.2},
}
LARGE = (3, 32, 32)


@pytest.mark.parametrize(
    ("precision", "memory_format"), [("fp32", "contiguous"), ("bf16", "channels_last")]
)
@pytest.mark.parametrize("name", NARROW)
def test_two_trainings_are_equal(device, name, precision, memory_format) -> None:
    def trained() -> str:
        node = OmegaConf.to_container(OmegaConf.load(CONF / "student" / f"{name}.yaml").model)
        torch.manual_seed(0)
        model = instantiate_node({**node, **NARROW[name]}, "m", in_shape=LARGE, num_classes=10)
        put_in_format(model.to(device), memory_format)
        images, labels = torch.rand(16, *LARGE).to(device), torch.arange(16).to(device) % 10
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(3):
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return sha256(model)

    assert trained() == trained()
