"""The values that models, losses and the training loop exchange.

Shapes: B images in a batch, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Logits and captured features of a batch; `members` for several teachers.

    Of a batch with a strong view they are those of its first, weak view.
    """

    logits: Tensor  # (B, C)
    features: dict[str, Tensor]  # module path -> (B, ...); empty where there are members
    members: tuple["Output", ...] = ()  # the output of each of several teachers
    strong: "Output | None" = None  # the output for `Batch.strong`


class MixedLabels(NamedTuple):
    """The second labels of a mixed batch (mixup, CutMix)."""

    labels: Tensor  # (B,) int64, of the images mixed in
    lam: float  # weight of `Batch.labels`, in [0.5, 1]; that of these is 1 - lam


class Batch(NamedTuple):
    """One step of a stream, the same for the teacher and every student of a cohort.

    With several devices the images, of both views, are those of the own rows of this process.
    """

    images: Tensor  # (B, channels, H, W) float32, normalised
    labels: Tensor  # (B,) int64
    # (B,) int64, position of each image in the training split; hides tuple.index on purpose
    index: Tensor  # type: ignore[assignment]
    mixed: MixedLabels | None = None
    strong: Tensor | None = None  # a second view of the same images, strongly augmented
    teacher: Tensor | None = None  # the view of the teacher, where it is not `images`

    @property
    def views(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """All views of the images, in the order of `with_views`."""
        return self.images, self.strong, self.teacher

    def with_views(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with every view changed, one after the other."""
        images, *others = (None if view is None else change(view) for view in self.views)
        assert images is not None, "it is always there"
        strong, teacher = others
        return self._replace(images=images, strong=strong, teacher=teacher)

    def as_seen_by_teacher(self) -> "Batch":
        """The batch with the teacher's view as its images."""
        return self if self.teacher is None else self._replace(images=self.teacher, teacher=None)
