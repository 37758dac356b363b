"""Three processes: slices of unlike sizes, and sums whose order matters."""

from pathlib import Path

import pytest
import sliced_training
from device_processes import processes

BOUND = 1e-6


@pytest.mark.slow
def test_gradients_are_those_of_one_process_and_bits_those_of_a_student_alone(
    tmp_path: Path,
) -> None:
    with processes(tmp_path, 3) as three:
        for found in three.run(sliced_training.distances, ["resnet8"]):
            assert {key: far for key, far in found.items() if not max(far) <= BOUND} == {}
        first, *others = three.run(sliced_training.bits_in_lockstep_and_alone)
        together, alone = first
        assert together == alone
        assert others == [first, first]
        whole, resumed = three.run(sliced_training.bits_whole_and_resumed)[0]
        assert whole == resumed
