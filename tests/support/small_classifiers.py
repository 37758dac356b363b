"""Classifiers with small networks, in bundles and in the folders of runs."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from torch import nn

from kdsweep.config.resolve import resolve_config
from kdsweep.config.run_config import public_values
from kdsweep.deploy.architecture import build_module
from kdsweep.deploy.bundle import read_bundle, write_bundle
from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.manifest import Manifest
from kdsweep.deploy.preprocessing import Preprocessing

CNN = {"_target_": "kdsweep.models.cnn.CNN", "width": 4, "dropout": 0.0}
MLP = {"_target_": "kdsweep.models.mlp.MLP", "width": 16, "dropout": 0.0}
CLASSES = ("ant", "bée", "cat")


def small_manifest(
    model: dict[str, Any] = CNN,
    classes: tuple[str, ...] = CLASSES,
    preprocessing: Preprocessing | None = None,
) -> Manifest:
    grey = Preprocessing(1, (8, 8), (0.3,), (0.4,))
    return Manifest(
        model=model,
        classes=classes,
        preprocessing=preprocessing or grey,
        run={"name": "kl T=4", "fingerprint": "f" * 16, "metrics": {"test/acc": 0.5}},
    )


def small_classifier(folder: Path, manifest: Manifest | None = None) -> Classifier:
    """A classifier with random weights, BatchNorms with statistics of their own, in a bundle."""
    manifest = manifest or small_manifest()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build_module(manifest)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return read_bundle(write_bundle(folder, module, manifest))


def classifier_of_run(folder: Path, config: DictConfig, manifest: Manifest) -> Classifier:
    """A classifier in a folder as of a finished run with this config."""
    resolved = resolve_config(config)
    classifier = small_classifier(folder / "checkpoint", manifest)
    (folder / "config.yaml").write_text(yaml.safe_dump(public_values(resolved)))
    (folder / "result.json").write_text(json.dumps({"status": "FINISHED", "epochs": 3}))
    (folder / "run.json").write_text(json.dumps({"params": {}, "name": "kl T=4"}))
    return classifier
