"""A teacher: a trained, frozen network that a whole cohort asks the same question once."""

import torch

from kdsweep.models.features import FeatureTap
from kdsweep.structures import Output


class Teacher:
    """Always in eval mode, without gradients; its weights never change.

    Args:
        network: the trained model, tapped for the features that some student of the cohort needs.
        precision: "fp32" or "bf16" (autocast); outputs are float32 in both cases.
        device: where the model is.
    """

    def __init__(self, network: FeatureTap, *, precision: str = "fp32", device: str = "cpu"):
        self.network, self.precision = network, precision
        self.device = torch.device(device)
        network.model.eval().requires_grad_(False)

    @torch.no_grad()  # not inference_mode: its tensors cannot take part in a student's backward
    def __call__(self, images: torch.Tensor) -> Output:
        """Logits (B, C) and features of normalised images (B, channels, H, W)."""
        enabled = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            output = self.network(images)
        features = {name: feature.float() for name, feature in output.features.items()}
        return Output(output.logits.float(), features)
