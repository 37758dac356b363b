"""The pieces that several families of convolutional networks share."""

from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """Mean over all positions: (B, channels, H, W) -> (B, channels).

    A plain mean, because the backward pass of adaptive pooling is not deterministic on CUDA.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


def conv_bn_relu(in_channels: int, out_channels: int, *, bias: bool) -> nn.Sequential:
    """Convolution 3x3 that keeps H and W, BatchNorm, ReLU.

    ``bias`` makes no difference to what can be learned (BatchNorm takes it away); it is there
    for parameter counts and checkpoints that equal those of the published models.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def initialise_convolutions(model: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852): normal with variance 2 / fan_out, biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
