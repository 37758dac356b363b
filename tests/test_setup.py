"""`make setup`, with a stand-in for Python that records what is to be installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = [
    line.partition("==")[0]
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if "==" in line and line[0] not in " #"
]
# As .venv/bin/python. PyTorch takes longer than the rest; MISSING is a package that is not found.
PYTHON = """#!/usr/bin/env bash
while [[ $# -gt 0 && $1 != --requirement ]]; do
  [[ $1 == --editable ]] && echo kdsweep >> "$INSTALLED"
  shift
done
[[ $# -gt 0 ]] || exit 0
packages=$(grep -oE '^[A-Za-z0-9._-]+==' "$2" | tr -d =)
grep -qx torch <<< "$packages" && sleep 0.3
grep -qx "$MISSING" <<< "$packages" && exit 1
echo "$packages" >> "$INSTALLED"
"""


def make_setup(folder: Path, missing: str = "") -> tuple[int, list[str]]:
    """Run `make setup`; returns its exit status and what was installed, in this order."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    installed = folder / "installed"
    installed.touch()
    # Not the options of a make around this one.
    outer = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "setup", f"PYTHON={sys.executable}"],
        cwd=folder,
        capture_output=True,
        env={**outer, "INSTALLED": str(installed), "MISSING": missing or "nothing"},
        check=False,
    )
    return done.returncode, installed.read_text().split()


@pytest.mark.ci
def test_all_of_the_lock_is_installed_before_kdsweep(tmp_path: Path) -> None:
    code, installed = make_setup(tmp_path)
    assert code == 0
    assert installed[-1] == "kdsweep"
    assert sorted(installed[:-1]) == sorted(LOCK)
    assert (tmp_path / ".venv/.ready").exists()


@pytest.mark.ci
@pytest.mark.parametrize(("missing", "other"), [("torch", "numpy"), ("numpy", "torch")])
def test_a_package_that_is_not_found_is_a_failure(tmp_path: Path, missing: str, other: str) -> None:
    code, installed = make_setup(tmp_path, missing)
    assert code == 2
    assert other in installed
    assert missing not in installed
    assert "kdsweep" not in installed
    assert not (tmp_path / ".venv/.ready").exists()
