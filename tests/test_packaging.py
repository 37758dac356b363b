"""kdsweep as it is installed: the wheel, the make targets, the console script in a new process."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def shell(*words: str, cwd: Path, **environment: str) -> str:
    """Run a command and return what it printed; it must succeed without a warning."""
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_brings_its_configs_and_trains(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    shell(
        *[*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)],
        cwd=tmp_path,
    )
    (wheel,) = tmp_path.glob("kdsweep-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"kdsweep/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert wanted <= packed

    site = tmp_path / "site"
    shell(*pip, "install", "--no-deps", "--target", str(site), str(wheel), cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = [sys.executable, "-W", "error::DeprecationWarning:kdsweep", str(site / "bin/kdsweep")]
    message = shell(
        *[*program, "train", "-m", "T=1,4", "dataset=fake", "trainer.epochs=1"],
        *["teacher.trainer.epochs=1", "tracking=none"],
        cwd=elsewhere,
        PYTHONPATH=str(site),
    )
    assert "kl T=4 alpha=0.5" in message
    assert len(list(elsewhere.glob("multirun/*/*/*/checkpoint/model.safetensors"))) == 2


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("sweep", "train.py -m loss=kl T=1,4,16 alpha=0.1,0.5,0.9"),
        ("search", "train.py search=bayes"),
        ("ui", "mlflow ui"),
        ("test", "-m pytest"),
        ("test-all", "-m pytest"),
        ("check", "mypy"),
        ("bench", "benchmarks/performance.py --write"),
        ("setup", "--requirement requirements.lock"),
    ],
)
def test_a_make_target_runs_what_it_names(target: str, command: str) -> None:
    printed = shell("make", "-n", "-B", target, cwd=ROOT)
    assert command in printed
    assert f"make {target} " in shell("make", "help", cwd=ROOT)
