from pathlib import Path

import pytest
from commands import Compose
from omegaconf import OmegaConf

from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec


def _spec(compose: Compose, *words: str) -> RunSpec:
    (spec,) = build_specs([compose("dataset=fake", *words)], [list(words)], 0, [])
    return spec


def test_names(compose: Compose) -> None:
    spec = _spec(compose, "T=2", "seed=3")
    assert (spec.name, spec.teacher_name) == ("kl T=2 alpha=0.5 seed=3", "cnn")
    (teacher,) = spec.teachers
    assert teacher.run is not None
    assert teacher.run.name == "teacher cnn fake"
    assert teacher.run_dir == Path(spec.config.teacher.store) / teacher.run.fingerprint


def test_stages_come_the_last_one_first_and_belong_to_the_sweep(compose: Compose) -> None:
    words = ["loss=ce", "+stages.a={epochs:1,loss:{}}", "+stages.b={epochs:1,loss:{}}"]
    spec = _spec(compose, *words)
    assert [stage.name.split()[1] for stage in spec.stages] == ["b", "a"]
    assert spec.has_auxiliary_runs
    assert not _spec(compose, "loss=ce").has_auxiliary_runs


@pytest.mark.ci
def test_what_decides_with_which_runs_it_shares_a_cohort(compose: Compose) -> None:
    key = _spec(compose).cohort_key
    assert _spec(compose, "T=9", "loss=mse", "optimizer.lr=0.3").cohort_key == key
    for own in ("ema=0.9", "accumulate=2", "grad_clip=1", "compile=true", "decay_norms=false"):
        assert _spec(compose, f"trainer.{own}").cohort_key == key, own
    for other in ("seed=1", "trainer.batch_size=9", "dataset.per_class=2", "teacher=convnet4"):
        assert _spec(compose, other).cohort_key != key, other


def test_config_yaml_is_the_config_without_passwords(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # it is set from the address, and not again afterwards
    spec = _spec(compose, "tracking.uri='http://me:secret@server'", "T=2")
    written = OmegaConf.create(spec.config_yaml)
    assert written["T"] == 2
    assert "secret" not in spec.config_yaml
    assert "alpha_weighted" not in spec.config_yaml
