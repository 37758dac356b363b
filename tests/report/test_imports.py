"""What the commands that only read results import, in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import Outcome, copy_of
from deployed_records import benched, records

from kdsweep.common.files import read_json, write_json_atomic

# What trains, reads data sets, draws images, or stores runs. Interactive figures are plotly's,
# statistics scipy's and statsmodels', hyperparameter importance optuna's and scikit-learn's.
NOT_FOR_REPORTS = {"torch", "torchvision", "matplotlib", "mlflow", "onnx", "onnxruntime"}
NOT_FOR_COMPARISONS = NOT_FOR_REPORTS | {"sklearn", "optuna", "plotly"}
PROGRAM = """
import sys
from kdsweep.cli import app

try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code
print("imported:", *sys.modules, file=sys.stderr)
"""


@pytest.fixture
def sweep(reported: Outcome, tmp_path: Path) -> Path:
    """A sweep with its report, as one that was trained with tracking=none."""
    folder = copy_of(reported, tmp_path).sweep
    note = read_json(folder / "sweep.json")
    without_mlflow = dict.fromkeys(("tracking_uri", "parent_run_id", "experiment_id"))
    write_json_atomic(folder / "sweep.json", note | without_mlflow)
    return folder


def imported(folder: Path, *words: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    program = [sys.executable, "-c", PROGRAM, *words]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.rpartition("imported:")[2].split())


def test_a_report_of_a_folder_imports_no_torch(sweep: Path) -> None:
    (sweep / "report.html").unlink()
    (sweep / "0/deploy").mkdir()
    for name, content in records(bench=benched("cnn", "mlp")).items():
        write_json_atomic(sweep / "0/deploy" / f"{name}.json", content)
    assert not imported(sweep.parent, "report", sweep.name) & NOT_FOR_REPORTS
    assert "The model you ship" in (sweep / "report.html").read_text()


def test_a_comparison_of_two_runs_imports_no_torch(sweep: Path) -> None:
    assert not imported(sweep, "compare", "0", "1") & NOT_FOR_COMPARISONS
