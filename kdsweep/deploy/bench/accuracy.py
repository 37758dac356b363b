"""Accuracy on the test set, measured by running the model."""

import json

from kdsweep.common.notices import warn_once
from kdsweep.config.run_config import to_values
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.evaluation_images import EvaluationImages, dataset_of_run, images_of_dataset
from kdsweep.deploy.export.check import accuracy
from kdsweep.deploy.of_run import recorded_config
from kdsweep.deploy.runtimes import Runtime, logits_of
from kdsweep.deploy.source_run import run_folder
from kdsweep.errors import UserError
from kdsweep.training.arithmetic import FP32


class AccuracyOnTest:
    """Measures models on the test sets of their runs; a data set of several runs is read once."""

    def __init__(self) -> None:
        self._of_config: dict[object, EvaluationImages] = {}
        self._of_input: dict[object, EvaluationImages] = {}

    def measure(self, classifier: Classifier, run: Runtime) -> float | None:
        """The accuracy of a model that is made of a classifier, in [0, 1].

        None, with a warning, if the data set of its run is not here. A classifier without a run,
        such as a teacher that was given as weights, is measured on the images of an earlier one
        with the same classes and preprocessing.
        """
        images = self._images(classifier)
        if images is None:
            return None
        return accuracy(logits_of(run, classifier.preprocessing, images), images.labels)

    @staticmethod
    def recorded(classifier: Classifier) -> float | None:
        """The accuracy that a run has recorded of its network in fp32; None if it is in bf16."""
        metrics = classifier.manifest.run.get("metrics", {})
        return metrics.get("test/acc") if classifier.manifest.precision == FP32 else None

    def _images(self, classifier: Classifier) -> EvaluationImages | None:
        # The images of networks of other sizes are the same.
        inputs = (tuple(classifier.classes), classifier.preprocessing.of_network(None))
        folder = run_folder(classifier)
        if folder is None:
            return self._of_input.get(inputs)
        try:
            config = json.dumps(to_values(recorded_config(folder).dataset), sort_keys=True)
            if (config, inputs) not in self._of_config:
                images = images_of_dataset(dataset_of_run(classifier, folder), "test")
                assert images is not None, "every data set has test images"
                self._of_config[config, inputs] = self._of_input[inputs] = images
        except UserError as error:
            warn_once(f"the accuracy of {folder} is not measured: {error}", str(folder))
            return None
        return self._of_config[config, inputs]
