"""Operations that are drawn for each image by itself, and done for a whole batch at once.

Images with the same operation are processed together, each with a value of its own.

Shapes: n images in total, B of (channels, H, W) in a batch, R operations on an image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kdsweep.data.pipeline.image_operations import Operation


class DrawnOperations(NamedTuple):
    """R operations for each image, one after the other, on the CPU."""

    operation: Tensor  # (n, R) int64, positions in a table of operations
    value: Tensor  # (n, R) float64, what each operation is called with

    def rows(self, index: Tensor) -> "DrawnOperations":
        """Those of the images at ``index``."""
        return DrawnOperations(self.operation[index], self.value[index])

    def batches(self, sizes: int | list[int], device: torch.device | str) -> list["OperationBatch"]:
        """The operations of each batch, on the device, to which all are moved at once.

        ``sizes``: B of all batches, or of each.
        """
        operations = self.operation.split(sizes)
        orders = [operation.argsort(dim=0, stable=True) for operation in operations]
        places = torch.stack((torch.cat(orders), torch.cat([o.argsort(dim=0) for o in orders])))
        order, back, value = (
            values.to(device, non_blocking=True).split(sizes) for values in (*places, self.value)
        )
        counts = [[_counts(column) for column in operation.T] for operation in operations]
        return [OperationBatch(*drawn) for drawn in zip(counts, order, back, value, strict=True)]


class OperationBatch(NamedTuple):
    """The operations of one batch, on its device: images of one operation are to be adjacent.

    Their numbers are known on the host, so that it need not wait for the device.
    """

    counts: list[list[int]]  # R times the number of images of each operation of the table
    order: Tensor  # (B, R) int64, positions of the images, sorted by operation
    back: Tensor  # (B, R) int64, the inverse
    value: Tensor  # (B, R) float64


def operate(images: Tensor, drawn: OperationBatch, table: Sequence[Operation]) -> Tensor:
    """Images uint8 (B, channels, H, W) after their operations, which are positions in ``table``."""
    for place, counts in enumerate(drawn.counts):
        order, back = drawn.order[:, place], drawn.back[:, place]
        value = drawn.value[:, place].index_select(0, order)
        groups = images.index_select(0, order).split(counts)
        # The counts end with the last operation that is drawn.
        drawn_of = zip(table, groups, value.split(counts), strict=False)
        done = [apply(group, values) for apply, group, values in drawn_of if len(group)]
        images = torch.cat(done).index_select(0, back)
    return images


def _counts(operation: Tensor) -> list[int]:
    """Of each operation up to the last one that is drawn."""
    counts: list[int] = operation.bincount().tolist()
    return counts
