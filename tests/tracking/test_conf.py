from pathlib import Path

from omegaconf import OmegaConf

FOLDER = Path(__file__).parents[2] / "conf" / "tracking"
KEYS = {"uri", "experiment", "artifacts", "plots", "answers", "report"}
KEYS |= {"models", "tensorboard", "system_metrics", "checkpoint_seconds", "wait"}


def test_every_tracking_option_has_the_same_keys() -> None:
    options = {path.stem: OmegaConf.load(path) for path in FOLDER.glob("*.yaml")}
    both = options.pop("mlflow_tensorboard")
    assert both == {"defaults": ["mlflow", "_self_"], "tensorboard": True}
    assert set(options) == {"mlflow", "none"}
    assert {name: set(option) for name, option in options.items()} == dict.fromkeys(options, KEYS)
    assert options["none"].uri is None
    assert options["mlflow"].uri == "sqlite:///mlflow.db"
