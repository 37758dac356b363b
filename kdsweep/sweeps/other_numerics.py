"""Sweeps of versions of kdsweep that compute other numbers: they are not resumed, but named.

None of their runs has the fingerprint of a run of this version, whatever the command line is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdsweep.runs.fingerprint import NUMERICS
from kdsweep.tracking.metadata import sweeps_under

# What the folder of such a sweep holds, for messages.
OTHER_NUMERICS = "runs of a version of kdsweep that computes other numbers"
# Words of a sweep's name that decide no result; a command line without words is named "defaults".
IDLE = ("tracking", "deploy", "cache", "resume", "dry_run", "debug", "defaults")


def has_other_numerics(note: Mapping[str, Any] | None) -> bool:
    """Whether another version trained the runs that a sweep.json lists, with other numbers."""
    return note is not None and bool(note["fingerprints"]) and note["numerics"] != NUMERICS


def find_with_other_numerics(root: Path, name: str) -> Path | None:
    """The latest such sweep under ``root`` that has the command line of a sweep's ``name``."""
    created = {
        folder: note["created"]
        for folder, note in sweeps_under(root).items()
        if has_other_numerics(note) and settings(note["name"]) == settings(name)
    }
    return max(created, key=lambda folder: created[folder], default=None)


def settings(name: str) -> list[str]:
    """The words of a command line that decide results."""
    return [word for word in name.split(" ") if word.partition("=")[0].split(".")[0] not in IDLE]
