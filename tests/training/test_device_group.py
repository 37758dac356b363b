"""Training by two processes against training by one; the processes are started once."""

from collections.abc import Iterator

import pytest
import sliced_training
import torch
from device_processes import Processes, processes
from loss_students import CONVOLUTIONAL, LOSSES

from kdsweep.training.device_group import SINGLE, DeviceGroup

# Of logits, of relations between images, with a memory, of features, with parts that learn, with a
# BatchNorm of its own, with the teacher's classifier.
KINDS = ("kl", "sp", "crd", "fitnet", "vid", "ofd", "simkd")
BOUND = 1e-6  # of a distance, relative; what is left of float64 is far below it


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("two")) as both:
        yield both


def test_rows_are_consecutive_and_cover_a_batch() -> None:
    for size in (1, 2, 3, 4):
        for count in range(1, 20):
            group = DeviceGroup(0, size)
            rows = [DeviceGroup(rank, size).rows(count) for rank in range(size)]
            covered = [row for part in rows for row in range(count)[part]]
            if group.splits(count):
                assert covered == list(range(count))
                assert min(group.counts(count)) >= 2
                assert max(group.counts(count)) - min(group.counts(count)) <= 1
            else:
                assert covered == list(range(count)) * size


def test_a_single_process_has_all_rows_and_needs_no_other_one() -> None:
    assert SINGLE.rows(5) == slice(0, 5)
    assert SINGLE.from_first("value") == "value"
    assert SINGLE.all_fail("anywhere")


@pytest.mark.ci
def test_each_kind_of_loss_has_the_gradient_of_a_single_process(two: Processes) -> None:
    for found in two.run(sliced_training.distances, ["resnet8"], KINDS):
        assert {loss for loss, _ in found} == set(KINDS)
        assert {key: far for key, far in found.items() if not max(far) <= BOUND} == {}


@pytest.mark.slow
def test_so_it_has_with_every_loss_and_convolutional_family(two: Processes) -> None:
    for found in two.run(sliced_training.distances, CONVOLUTIONAL):
        assert {loss for loss, _ in found} == set(LOSSES)
        assert {key: far for key, far in found.items() if not max(far) <= BOUND} == {}


def test_a_batch_that_is_too_small_is_trained_on_as_a_whole(two: Processes) -> None:
    for far in two.run(sliced_training.small_batch_distances):
        assert max(far) <= BOUND


def test_without_synchronisation_batchnorm_normalises_by_the_own_rows(two: Processes) -> None:
    for far in two.run(sliced_training.distance_from_separate_rows):
        assert far <= BOUND


def test_a_synchronised_batchnorm_is_that_of_the_whole_batch(two: Processes) -> None:
    for found in two.run(sliced_training.batch_norm_distances):
        assert {key: far for key, far in found.items() if not far <= 1e-12} == {}


@pytest.mark.ci
def test_lockstep_has_the_bits_of_training_alone(two: Processes) -> None:
    (together, alone), elsewhere = two.run(sliced_training.bits_in_lockstep_and_alone)
    assert together == alone
    assert elsewhere == (together, alone)
    assert len(set(together)) == len(together)


@pytest.mark.slow
def test_an_online_teacher_and_its_students_have_their_own_bits(two: Processes) -> None:
    (together, alone), elsewhere = two.run(sliced_training.bits_with_an_online_teacher)
    assert together == alone
    assert elsewhere == (together, alone)


@pytest.mark.slow
def test_trained_weights_are_those_of_a_single_process(two: Processes) -> None:
    for found in two.run(sliced_training.distances_after_training):
        assert {key: far for key, far in found.items() if not far <= 1e-5} == {}  # in float32


@pytest.mark.slow
def test_a_resumed_training_has_the_bits_of_a_whole_one(two: Processes) -> None:
    (whole, resumed), elsewhere = two.run(sliced_training.bits_whole_and_resumed)
    assert whole == resumed
    assert elsewhere == (whole, resumed)


@pytest.mark.ci
def test_students_fail_alone_and_in_every_process(two: Processes) -> None:
    (reasons, calm, alone), elsewhere = two.run(sliced_training.reasons_of_failures)
    assert elsewhere == (reasons, calm, alone)
    assert "non-finite" in str(reasons[0])
    assert reasons[1:] == ["RuntimeError in epoch 0: no such kernel", "pruned", None]
    assert calm == alone


@pytest.mark.ci
def test_what_fails_in_one_process_alone_is_no_failure_of_a_student(two: Processes) -> None:
    _, elsewhere = two.run(sliced_training.raised_alone)
    assert elsewhere == "no such kernel"
    assert torch.distributed.is_initialized()
