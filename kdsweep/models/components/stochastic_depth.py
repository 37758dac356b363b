"""Stochastic depth of networks of other libraries: Huang et al. 2016, arXiv 1603.09382.

In training the branch of a block is left out for some of the images: for each with a probability
that rises linearly over the blocks. Draws are from torch's generator of the device, which every
step of a student seeds.
"""

from torch import nn

from kdsweep.common.validation import check_fraction


def check_rate(rate: float | None) -> None:
    """Raises ValueError unless the rate is None or in [0, 1)."""
    if rate is not None:
        check_fraction("drop_path", rate, one=False)


def lacks_depth_message(name: str, rate: float) -> str:
    """What is wrong with a rate for a network without stochastic depth."""
    return f"drop_path must be null with {name}, which has no stochastic depth, got {rate:g}"


def set_torchvision_depth(model: nn.Module, name: str, rate: float) -> None:
    """Change a network of torchvision to what ``stochastic_depth_prob=rate`` makes of it.

    Not every constructor there takes this argument. Raises ValueError for a network without.
    """
    from torchvision.models import EfficientNet
    from torchvision.ops import StochasticDepth

    blocks = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    if not blocks:
        raise ValueError(lacks_depth_message(name, rate))
    # The last block has the probability that was given; in EfficientNets the one after it would.
    share = (len(blocks) - 1) / len(blocks) if isinstance(model, EfficientNet) else 1.0
    given = max(block.p for block in blocks) / share
    for block in blocks:
        block.p *= rate / given
