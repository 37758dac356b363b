"""Knowledge distillation sweeps: configured by Hydra, trained in lockstep, tracked in MLflow.

The public names are imported on first use, so that `import kdsweep` needs no torch:

- `Term`, `LogitTerm`, `FeatureTerm`, `LearnedFeatureTerm`: base classes of loss terms;
  `compute_loss`: the value of a term outside of training.
- `Batch`, `Output`: what a term is called with.
- `Source`, `SourceData`, `LabelledImages`: what a data source implements and returns.
- `Augmentation`: what an augmentation is called with. `Schedule`: the base class of schedules.
- `load`: a trained model, ready for predictions; `Classifier`, `Predictions`: what it returns.
- `sweep`: train a run, a grid or a search; `open`: an old one; `Sweep`, `SweepRun`: its results.
- `UserError`, `RunFailed`: the errors of a sweep.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_MODULES = {
    "Augmentation": "kdsweep.data.types",
    "Batch": "kdsweep.common.types",
    "Classifier": "kdsweep.deploy.classifier",
    "FeatureTerm": "kdsweep.losses.base.feature_term",
    "LabelledImages": "kdsweep.data.types",
    "LearnedFeatureTerm": "kdsweep.losses.base.feature_term",
    "LogitTerm": "kdsweep.losses.base.logit_term",
    "Output": "kdsweep.common.types",
    "Predictions": "kdsweep.deploy.predictions",
    "RunFailed": "kdsweep.errors",
    "Schedule": "kdsweep.training.schedule",
    "Source": "kdsweep.data.types",
    "SourceData": "kdsweep.data.types",
    "Sweep": "kdsweep.api.results",
    "SweepRun": "kdsweep.api.results",
    "Term": "kdsweep.losses.base.term",
    "UserError": "kdsweep.errors",
    "compute_loss": "kdsweep.losses.base.compute_loss",
    "load": "kdsweep.deploy.sources",
    "open": "kdsweep.api.results",
    "sweep": "kdsweep.api.train",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("kdsweep")
    if name not in _MODULES:
        raise AttributeError(f"module 'kdsweep' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
