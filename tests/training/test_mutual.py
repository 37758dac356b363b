"""Deep mutual learning against its formula, and what a unit of peers shares."""

import pytest
import torch
import torch.nn.functional as F
from toys import EPOCHS, make_stream, make_student, train

from kdsweep.losses.base.multi_teacher import MultiTeacherLoss
from kdsweep.losses.kl import KL
from kdsweep.training.checkpoint import Saved, load_latest, save, sha256
from kdsweep.training.mutual import Peers
from kdsweep.training.student import Student


def make_peers(count: int = 2, **options: object) -> Peers:
    """Peers as build.py makes them: each with a seed of its own, its terms averaged."""

    def peer(seed: int) -> Student:
        term = MultiTeacherLoss([KL(T=1.0, weight=0.5) for _ in range(count - 1)])
        return make_student(seed=seed, terms={"kl": term}, **options)  # type: ignore[arg-type]

    return Peers({f"peer{seed}": peer(seed) for seed in range(count)})


def bits(peers: Peers) -> list[str]:
    return [sha256(student.model) for student in peers.students]


def test_one_step_is_that_of_the_paper() -> None:
    peers, twins = make_peers(3), make_peers(3)
    batch = next(iter(make_stream().epoch(0)))
    peers.step(batch, None, 0)
    logits = [twin.network(batch.images).logits for twin in twins.students]
    for place, twin in enumerate(twins.students):
        others = [output.detach() for other, output in enumerate(logits) if other != place]
        pulls = [
            F.kl_div(logits[place].log_softmax(1), other.softmax(1), reduction="batchmean")
            for other in others
        ]
        total = 0.5 * F.cross_entropy(logits[place], batch.labels) + 0.5 * sum(pulls) / 2
        twin.optimizer.zero_grad()
        total.backward()
        twin.optimizer.step()
    for trained, twin in zip(peers.students, twins.students, strict=True):
        for first, second in zip(trained.model.parameters(), twin.model.parameters(), strict=True):
            torch.testing.assert_close(first, second)


@pytest.mark.ci
def test_peers_among_neighbours_equal_peers_alone() -> None:
    neighbours = make_student(), make_peers(3, model="cnn"), make_student(dropout=0.5)
    together, alone = make_peers(dropout=0.5), make_peers(dropout=0.5)
    train([neighbours[0], neighbours[1], together, neighbours[2]])
    train([alone])
    assert bits(together) == bits(alone)
    assert len(set(bits(alone))) == 2
    assert together.epoch == EPOCHS


def test_students_keep_their_bits_with_peers_in_the_cohort() -> None:
    student, alone = make_student(dropout=0.5), make_student(dropout=0.5)
    train([make_peers(), student])
    train([alone])
    assert sha256(student.model) == sha256(alone.model)


def test_peers_fail_together_with_the_reason() -> None:
    peers, calm, alone = make_peers(), make_student(), make_student()

    def judge(student: Student, metrics: dict[str, float]) -> None:
        if student is peers.students[1]:
            student.fail("pruned")

    train([peers, calm], record=judge)
    train([alone])
    assert [peer.failure for peer in peers.students] == ["peer peer1: pruned", "pruned"]
    assert peers.epoch == 1
    assert sha256(calm.model) == sha256(alone.model)


def test_a_diverging_peer_takes_its_unit_with_it() -> None:
    storm = make_peers(lr=1e30, optimizer=torch.optim.SGD)
    train([storm])
    assert all("non-finite" in str(peer.failure) for peer in storm.students)


def test_a_raising_peer_ends_its_unit_alone() -> None:
    peers, calm = make_peers(), make_student()

    def explode(*inputs: object) -> None:
        raise RuntimeError("no such kernel")

    peers.students[1].network.model.forward = explode
    train([peers, calm])
    assert {peer.failure for peer in peers.students} == {"RuntimeError in epoch 0: no such kernel"}
    assert calm.failure is None


def test_a_single_peer_is_refused() -> None:
    with pytest.raises(ValueError, match="peers must be at least two students, got 1"):
        Peers({"alone": make_student()})


def test_a_unit_resumes_at_the_last_epoch_of_all_its_peers(tmp_path) -> None:
    whole, stopped, again = make_peers(), make_peers(), make_peers()
    train([whole])
    folders = [tmp_path / name for name in stopped.peers]

    def saved(peers: Peers) -> list[Saved]:
        return [Saved(f, s, "mark") for f, s in zip(folders, peers.students, strict=True)]

    train([stopped], epochs=1)
    for place in saved(stopped):
        save(*place)
    train([stopped], epochs=2)
    save(*saved(stopped)[0])  # the process died before the second peer was saved
    assert load_latest(saved(again))
    assert [student.epoch for student in again.students] == [1, 1]
    train([again])
    assert bits(again) == bits(whole)
