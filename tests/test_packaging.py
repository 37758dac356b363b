"""kdsweep as it is installed: the wheel, the make targets, the console script in a new process."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kdsweep.tracking.metadata import read_result

ROOT = Path(__file__).parents[1]


def shell(*words: str, cwd: Path, **environment: str) -> str:
    """Run a command and return what it printed; it must succeed without a warning."""
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of kdsweep."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    shell(*PIP, *build, cwd=folder)
    (found,) = folder.glob("kdsweep-*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it is installed to, without what it depends on, which is there."""
    folder = tmp_path_factory.mktemp("site")
    shell(*PIP, "install", "--no-deps", "--target", str(folder), str(wheel), cwd=folder)
    return folder


@pytest.mark.slow
def test_a_wheel_brings_its_configs_and_trains(wheel: Path, site: Path, tmp_path: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"kdsweep/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert wanted <= packed
    program = [sys.executable, "-W", "error::DeprecationWarning:kdsweep", str(site / "bin/kdsweep")]
    message = shell(
        *[*program, "train", "-m", "T=1,4", "dataset=fake", "trainer.epochs=1"],
        *["teacher.trainer.epochs=1", "tracking=none"],
        cwd=tmp_path,
        PYTHONPATH=str(site),
    )
    assert "kl T=4 alpha=0.5" in message
    assert len(list(tmp_path.glob("multirun/*/*/*/checkpoint/model.safetensors"))) == 2


@pytest.mark.slow
def test_own_parts_train_with_an_installed_wheel_in_an_empty_folder(
    site: Path, tmp_path: Path
) -> None:
    """The console script has its own folder first on the path, not the working directory."""
    shutil.copytree(ROOT / "examples" / "own_parts", tmp_path, dirs_exist_ok=True)
    kdsweep = [sys.executable, str(site / "bin/kdsweep")]
    own = ["--config-dir", "conf", "experiment=own"]
    command = [*kdsweep, "train", *own, "-m", "alpha=0.1,0.9"]
    message = shell(*command, cwd=tmp_path, PYTHONPATH=str(site))
    assert "huber alpha=0.9" in message
    results = [read_result(path.parent) for path in tmp_path.glob("multirun/*/*/*/result.json")]
    assert len(results) == 2
    assert all(one is not None and one.val_acc is not None and one.val_acc > 0.9 for one in results)
    assert list(tmp_path.glob("mlflow.db"))  # the default store
    (run, _) = sorted(tmp_path.glob("multirun/*/*/[01]"))
    shell(*kdsweep, "export", str(run), cwd=tmp_path, PYTHONPATH=str(site))
    assert (run / "deploy" / "model.onnx").is_file()
    # Workers of a stock launcher import the same modules.
    command = [*kdsweep, "train", *own, "-m", "seed=1,2", "hydra/launcher=joblib", "tracking=none"]
    message = shell(*command, cwd=tmp_path, PYTHONPATH=str(site))
    assert "huber" in message


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
        ("setup", "--editable ."),
    ],
)
def test_a_make_target_runs_what_it_names(target: str, command: str) -> None:
    printed = shell("make", "-n", "-B", target, cwd=ROOT)
    assert command in printed
    assert f"make {target} " in shell("make", "help", cwd=ROOT)
