"""The manifest of a run that finishes."""

from dataclasses import replace

import pytest
from commands import Compose

from kdsweep.builders.data import build_dataset
from kdsweep.builders.models import build_network
from kdsweep.config.overrides import swept_keys
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.of_run import manifest_of_run
from kdsweep.models.quantization_aware import with_rounding
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec

WORDS = ["dataset=fake", "teacher=none", "loss=ce"]
METRICS = {"train/loss": 1.0, "val/acc": 0.5, "val/acc_best": 0.75, "test/acc": 0.25}


@pytest.fixture
def spec(compose: Compose) -> RunSpec:
    (found,) = build_specs([compose(*WORDS)], [WORDS], 0, swept_keys([WORDS]))
    return found


def manifest(spec: RunSpec) -> Manifest:
    dataset = build_dataset(spec.config.dataset, "cpu")
    network = build_network(dataset, spec.config.student.model, "student")
    return manifest_of_run(spec, dataset, network, METRICS, "beef")


def test_it_has_the_metrics_of_the_weights(spec: RunSpec) -> None:
    found = manifest(spec)
    assert found.run["metrics"] == {"val/acc": 0.5, "test/acc": 0.25}
    assert found.weights_sha256 == "beef"


def test_it_lacks_metrics_that_were_measured_with_rounding(spec: RunSpec) -> None:
    plain = spec.config.student
    student = replace(plain, model=with_rounding(plain.model))
    found = manifest(replace(spec, config=replace(spec.config, student=student)))
    assert found.model["_target_"] == plain.model["_target_"]
    assert found.run["metrics"] == {}
