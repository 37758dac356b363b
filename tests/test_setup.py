"""`make setup`, with a Python that only notes what it is asked to install."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# As .venv/bin/python: PyTorch takes longer than the rest, and fails where FAULT is set.
PYTHON = """#!/usr/bin/env bash
while [[ $# -gt 0 && $1 != --requirement ]]; do
  [[ $1 == --editable ]] && echo kdsweep >> "$LOG"
  shift
done
[[ $# -gt 0 ]] || exit 0
packages=$(grep -oE '^[a-z0-9_-]+==' "$2")
if grep -q '^torch==' <<< "$packages"; then sleep 0.3; [[ -z $FAULT ]] || exit 1; fi
echo "$packages" >> "$LOG"
"""


def setup(folder: Path, fault: str = "") -> tuple[int, list[str]]:
    """The exit status, and what was installed, in this order."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    log = folder / "installed"
    log.touch()
    done = subprocess.run(
        ["make", "setup"],
        cwd=folder,
        capture_output=True,
        env={**os.environ, "LOG": str(log), "FAULT": fault},
        check=False,
    )
    return done.returncode, log.read_text().replace("==", "").split()


@pytest.mark.ci
def test_all_of_the_lock_is_installed_before_kdsweep(tmp_path: Path) -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = [line.partition("==")[0] for line in lines if "==" in line and line[0] not in " #"]
    code, installed = setup(tmp_path)
    assert code == 0
    assert installed[-1] == "kdsweep"
    assert sorted(installed[:-1]) == sorted(locked)
    assert (tmp_path / ".venv/.ready").exists()


@pytest.mark.ci
def test_a_package_that_cannot_be_installed_is_a_failure(tmp_path: Path) -> None:
    code, installed = setup(tmp_path, fault="yes")
    assert code != 0
    assert "kdsweep" not in installed
    assert not (tmp_path / ".venv/.ready").exists()
