"""What `import kdsweep` offers."""

import subprocess
import sys

import kdsweep


def test_every_public_name_is_there() -> None:
    assert {"Term", "Output", "Source", "UserError", "compute_loss"} <= set(kdsweep.__all__)
    for name in kdsweep.__all__:
        assert getattr(kdsweep, name)
    assert set(dir(kdsweep)) == set(kdsweep.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(kdsweep, "Nothing")


def test_importing_it_imports_no_torch() -> None:
    program = "import sys, kdsweep; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
