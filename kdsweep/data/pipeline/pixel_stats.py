"""Mean and standard deviation of pixels, exactly and in one pass."""

import torch

from kdsweep.data.types import Images, in_order


def pixel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each channel, in units of [0, 1] pixels.

    Computed from the counts of the 256 values, so the result does not depend on the order of the
    images or the batch size.
    """
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for pixels in in_order(images, batch_size=1024):
        for channel in range(channels):
            counts[channel] += torch.bincount(pixels[:, channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    weights = counts.double() / counts.sum(dim=1, keepdim=True)
    mean = (weights * values).sum(dim=1)
    variance = (weights * (values - mean[:, None]).square()).sum(dim=1)
    return tuple(mean.tolist()), tuple(variance.sqrt().tolist())
