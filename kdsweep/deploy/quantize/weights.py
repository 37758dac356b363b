"""Weights of half the size: rounded to bf16 or fp16 on disk, computed with in fp32."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch

from kdsweep.deploy.bundle import read_bundle, write_bundle
from kdsweep.deploy.classifier import Classifier

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def write_rounded(classifier: Classifier, folder: Path, kind: str) -> Classifier:
    """Write a bundle with weights of a kind, a key of `TYPES`; returns the classifier in it.

    `kdsweep.load` reads it as any other: the rounded weights become float32. Its manifest lacks the
    run's metrics, which are those of other weights.
    """
    module = deepcopy(classifier.module).to(TYPES[kind])
    run = {key: value for key, value in classifier.manifest.run.items() if key != "metrics"}
    return read_bundle(write_bundle(folder, module, replace(classifier.manifest, run=run)))
