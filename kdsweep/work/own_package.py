"""The environment of processes that train units: with the same kdsweep as this process."""

import os
import sysconfig
from pathlib import Path

import kdsweep


def own_environment() -> dict[str, str]:
    """The variables of this process, from which a child imports this very package."""
    home, known = Path(kdsweep.__file__).parents[1], dict(os.environ)
    if home != Path(sysconfig.get_path("purelib")):  # a checkout
        known["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), known.get("PYTHONPATH")]))
    return known
