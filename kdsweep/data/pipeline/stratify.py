"""Stratified splitting: parts that hold every class in proportion, by labels alone.

The images of each class are shuffled once, into its *pool*. Parts are cut from the front of the
pools, so they are disjoint by construction.
"""

from typing import TypeAlias

import torch
from torch import Tensor

Pools: TypeAlias = list[Tensor]  # for each class the positions of its images, shuffled


def shuffled_pools(labels: Tensor, num_classes: int, seed: int) -> Pools:
    """For each class the positions of its images in ``labels`` (N,), shuffled by the seed."""
    generator = torch.Generator().manual_seed(seed)
    pools = [torch.nonzero(labels == label).flatten() for label in range(num_classes)]
    return [pool[torch.randperm(len(pool), generator=generator)] for pool in pools]


def quotas(counts: list[int], total: int) -> list[int]:
    """Divide ``total`` among classes in proportion to ``counts``, by largest remainder.

    Each quota is the exact one rounded down or up, and they sum to ``total`` (at most
    ``sum(counts)``). Of equal remainders the lower class comes first.
    """
    everything = sum(counts)
    if everything == 0:
        return list(counts)
    shares = [divmod(count * total, everything) for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda label: -shares[label][1])
    raised = set(by_remainder[: total - sum(share for share, _ in shares)])
    return [share + (label in raised) for label, (share, _) in enumerate(shares)]


def cut(pools: Pools, total: int) -> tuple[Pools, Pools]:
    """The first ``total`` images of the pools, stratified, and the rest."""
    takes = quotas([len(pool) for pool in pools], total)
    front = [pool[:take] for pool, take in zip(pools, takes, strict=True)]
    rest = [pool[take:] for pool, take in zip(pools, takes, strict=True)]
    return front, rest


def cut_fraction(pools: Pools, fraction: float) -> tuple[Pools, Pools]:
    """The given fraction of all images, rounded to the nearest whole image, and the rest."""
    return cut(pools, round(fraction * size(pools)))


def size(pools: Pools) -> int:
    """Images in all pools together."""
    return sum(len(pool) for pool in pools)


def positions(pools: Pools) -> Tensor:
    """All positions of the pools, ascending."""
    return torch.cat(pools).sort().values
