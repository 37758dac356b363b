"""Container images that are built where there is no daemon and no registry: by buildah, as root.

The base image is made of Debian's packages by debootstrap, once for a machine.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASE = "localhost/kdsweep-test-base"
DEBIAN = ["--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm"]
CHROOT = ["--isolation", "chroot"]  # needs no cgroups


def buildah(*words: str) -> str:
    """Run buildah; its output."""
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"buildah {' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def base_image(folder: Path) -> str:
    """The name of a Debian with Python; a test is skipped where none can be made."""
    if missing := [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]:
        pytest.skip(f"no image can be built: {' and '.join(missing)} not installed")
    if os.getuid() != 0:
        pytest.skip("no image can be built: debootstrap needs root")
    if BASE not in buildah("images", "--format", "{{.Name}}").split():
        root = folder / "debian"
        # a temporary folder of pytest is on a file system without devices at times
        subprocess.run(["debootstrap", *DEBIAN[:-1], DEBIAN[-1], str(root)], check=True)
        container = buildah("from", "scratch").strip()
        buildah("copy", "--quiet", container, str(root), "/")
        buildah("commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(root)
    return BASE


def pip_settings(folder: Path) -> list[str]:
    """The words that give a build the package indexes of this machine."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = {}
    for line in sorted(listed.splitlines(), reverse=True):  # of the environment last
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = ast.literal_eval(value)
    settings.pop("constraint", None)  # of this machine's own environments
    config = folder / "pip.conf"
    lines = (f"{key} = {value}" for key, value in settings.items())
    config.write_text("\n".join(["[global]", *lines, ""]))
    places = [word.removeprefix("file://") for value in settings.values() for word in value.split()]
    mounted = {str(Path(*Path(place).parts[:3])) for place in places if place.startswith("/")}
    return ["--secret", f"id=pip,src={config}", *(f"--volume={p}:{p}:ro" for p in sorted(mounted))]
