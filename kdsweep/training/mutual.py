"""Mutual learning: students that are each other's teachers, trained as one unit.

Zhang et al. 2018, Deep Mutual Learning (arXiv 1706.00384). In each step all students compute their
logits before any of them is updated; the targets of each are the outputs of the others. Every term
of its objective is averaged over them, so that with the term KL at T = 1 and alpha the student k of
K minimises

    (1 - alpha) CE + alpha / (K - 1) * sum over the others l of KL(p_l || p_k)
"""

from collections.abc import Mapping

from kdsweep.common.rng import reseed
from kdsweep.common.types import Batch, Output
from kdsweep.training.student import Student
from kdsweep.training.teacher import detached_output, mean_output


class Peers:
    """A unit of a cohort: at least two students by name. If one fails, all of them end."""

    def __init__(self, peers: Mapping[str, Student]) -> None:
        """Raises ValueError for a single student, which would have no target."""
        if len(peers) < 2:
            raise ValueError(f"peers must be at least two students, got {len(peers)}")
        self.peers = dict(peers)
        self.students = tuple(peers.values())  # in the same order

    @property
    def epoch(self) -> int:
        """Epochs trained, the same for all."""
        return self.students[0].epoch

    @property
    def failure(self) -> str | None:
        """The failure of the first peer that has one."""
        failed = ((name, peer.failure) for name, peer in self.peers.items() if peer.failure)
        return next((f"peer {name}: {reason}" for name, reason in failed), None)

    def fail(self, reason: str) -> None:
        """Fail all of them; one that has failed keeps its own reason."""
        for student in self.students:
            student.fail(reason)

    def step(self, batch: Batch, target: Output | None, step: int) -> None:
        """Train on one batch; the targets are the other peers' outputs before any update."""
        outputs = [student.forward(batch, step) for student in self.students]
        targets = [detached_output(output) for output in outputs]
        for position, (student, output) in enumerate(zip(self.students, outputs, strict=True)):
            others = mean_output([*targets[:position], *targets[position + 1 :]])
            # The random numbers of a term must not depend on the order of the forward passes.
            reseed(student.device, "learn", student.seed, student.epoch, step)
            student.update(batch, output, others, step)
