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
import os, sys
from kdsweep.cli import app

def imported_by(folder, *words):
    os.chdir(folder)
    try:
        app(words)
    except SystemExit as end:
        assert not end.code
    print("imported:", *sys.modules, file=sys.stderr)

sweep = sys.argv[1]
imported_by(sweep, "compare", "0", "1")
imported_by(os.path.dirname(sweep), "report", os.path.basename(sweep))
"""


@pytest.fixture(scope="module")
def sweep(reported: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with its report, as one that was trained with tracking=none."""
    folder = copy_of(reported, tmp_path_factory.mktemp("imports")).sweep
    note = read_json(folder / "sweep.json")
    without_mlflow = dict.fromkeys(("tracking_uri", "parent_run_id", "experiment_id"))
    write_json_atomic(folder / "sweep.json", note | without_mlflow)
    (folder / "report.html").unlink()
    (folder / "0/deploy").mkdir()
    for name, content in records(bench=benched("cnn", "mlp")).items():
        write_json_atomic(folder / "0/deploy" / f"{name}.json", content)
    return folder


@pytest.fixture(scope="module")
def imported(sweep: Path) -> list[set[str]]:
    """The modules that are there after a comparison of two runs, and after a report then."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, sweep], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    _, *lists = ran.stderr.split("imported:")
    return [set(words.split("\n")[0].split()) for words in lists]


def test_a_comparison_of_two_runs_imports_no_torch(imported: list[set[str]]) -> None:
    compared, _ = imported
    assert not compared & NOT_FOR_COMPARISONS


def test_a_report_of_a_folder_imports_no_torch(imported: list[set[str]], sweep: Path) -> None:
    _, reported = imported
    assert not reported & NOT_FOR_REPORTS
    assert "The model you ship" in (sweep / "report.html").read_text()
