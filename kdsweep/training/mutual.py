"""Mutual learning: students that teach each other and are trained as one.

Zhang et al. 2018, Deep Mutual Learning (arXiv 1706.00384). All of them answer a batch with the
weights they have; then each learns from the answers of the others. Every term of its objective is
averaged over them, so that with the term KL at T = 1 and alpha the student k of K minimises

    (1 - alpha) CE + alpha / (K - 1) * sum over the others l of KL(p_l || p_k)
"""

from collections.abc import Mapping

from kdsweep.common.rng import reseed
from kdsweep.common.types import Batch, Output
from kdsweep.training.student import Student
from kdsweep.training.teacher import detached_output, mean_output


class Peers:
    """A unit of the cohort made of at least two students, by their names; they end together."""

    def __init__(self, peers: Mapping[str, Student]) -> None:
        """Raises ValueError for a single student, whom nobody would teach."""
        if len(peers) < 2:
            raise ValueError(f"peers must be at least two students, got {len(peers)}")
        self.peers = dict(peers)

    @property
    def students(self) -> tuple[Student, ...]:
        """All of them, in order."""
        return tuple(self.peers.values())

    @property
    def epoch(self) -> int:
        """Epochs trained, the same for all."""
        return self.students[0].epoch

    @property
    def failure(self) -> str | None:
        """Why they ended: the reason of the first peer that did."""
        failed = ((name, peer.failure) for name, peer in self.peers.items() if peer.failure)
        return next((f"peer {name}: {reason}" for name, reason in failed), None)

    def fail(self, reason: str) -> None:
        """End all of them; one that has ended keeps its own reason."""
        for student in self.students:
            student.fail(reason)

    def step(self, batch: Batch, target: Output | None, step: int) -> None:
        """Train all of them on one batch, each by what the others said before any of them moved."""
        outputs = [student.forward(batch, step) for student in self.students]
        answers = [detached_output(output) for output in outputs]
        for place, (student, output) in enumerate(zip(self.students, outputs, strict=True)):
            others = mean_output([*answers[:place], *answers[place + 1 :]])
            # What a term draws must not depend on who answered last.
            reseed(student.device, "learn", student.seed, student.epoch, step)
            student.update(batch, output, others, step)
