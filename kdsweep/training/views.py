"""Forward passes of both views of a batch."""

from collections.abc import Callable

from torch import Tensor

from kdsweep.common.types import Batch, Output


def output_of_views(network: Callable[[Tensor], Output], batch: Batch) -> Output:
    """The output for the images, with that for the strong view, if there is one.

    The views pass one after the other, as in Jin-Ying/Multi-Level-Logit-Distillation: BatchNorm
    normalises each by its own statistics, and the running ones are updated twice.
    """
    output = network(batch.images)
    return output if batch.strong is None else output._replace(strong=network(batch.strong))
