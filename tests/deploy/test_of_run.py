"""The manifest of a run that finishes."""

from dataclasses import replace

from commands import Specs

from kdsweep.builders.data import build_dataset
from kdsweep.builders.models import build_network
from kdsweep.deploy.of_run import manifest_of_run
from kdsweep.models.quantization_aware import with_rounding

METRICS = {"train/loss": 1.0, "val/acc": 0.5, "val/acc_best": 0.75, "test/acc": 0.25}


def test_it_has_the_metrics_of_the_weights(specs: Specs) -> None:
    (spec,) = specs("teacher=none", "loss=ce")
    dataset = build_dataset(spec.config.dataset, "cpu")
    network = build_network(dataset, spec.config.student.model, "student")
    found = manifest_of_run(spec, dataset, network, METRICS, "beef")
    assert found.run["metrics"] == {"val/acc": 0.5, "test/acc": 0.25}
    assert found.weights_sha256 == "beef"


def test_one_without_rounding_lacks_the_metrics_that_were_measured_with_it(specs: Specs) -> None:
    (spec,) = specs("teacher=none", "loss=ce")
    student = replace(spec.config.student, model=with_rounding(spec.config.student.model))
    aware = replace(spec, config=replace(spec.config, student=student))
    dataset = build_dataset(spec.config.dataset, "cpu")
    network = build_network(dataset, student.model, "student")
    found = manifest_of_run(aware, dataset, network, METRICS, "beef")
    assert found.model["_target_"] == spec.config.student.model["_target_"]
    assert found.run["metrics"] == {}
