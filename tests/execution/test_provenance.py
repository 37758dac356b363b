"""What is recorded of a run's inputs."""

import hashlib
from pathlib import Path

import torch
from commands import Targets
from safetensors.torch import save_file

from kdsweep.execution.provenance import input_digests, provenance


def test_a_teacher_that_is_not_trained_has_no_digest(targets: Targets) -> None:
    (target,) = targets(["T=1"])
    assert input_digests(target.spec) == {"dataset": target.spec.digests["dataset"]}


def test_given_weights_are_recorded_by_their_key(targets: Targets, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("teacher.pt", "student.pt")]
    for number, path in enumerate(paths):
        save_file({"weight": torch.tensor([float(number)])}, path)
    words = [f"teacher.checkpoint={paths[0]}", f"student.checkpoint={paths[1]}"]
    (target,) = targets(["T=1", *words])
    teacher, student = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    digests = {"dataset": target.spec.digests["dataset"]}
    digests |= {"teacher": teacher, "student.checkpoint": student}
    assert input_digests(target.spec) == digests
    found = provenance(target.spec)
    assert found["inputs"] == digests
    assert found["derived"] == {"alpha_weighted": True}
    assert found["environment"]["threads"] == "1"
