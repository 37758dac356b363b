"""`train.py` and `kdsweep train`: Hydra's `main`, and how a sweep is stopped."""

import os
import signal
import stat
import sys
from pathlib import Path
from traceback import format_exception
from types import TracebackType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from kdsweep.builders.own_source import forget_edited_modules
from kdsweep.cli.hydra_errors import refusals_in_sentences, switch_error, switch_faults
from kdsweep.common.conf import CONF
from kdsweep.common.garbage import leave_rest_to_system
from kdsweep.common.passwords import redact_argument, redact_text
from kdsweep.config.offered_parts import OfferedConfigs
from kdsweep.config.register import register
from kdsweep.config.schema import EXECUTION_WHITELIST
from kdsweep.errors import UserError
from kdsweep.sweeps.cluster_launchers import RayLockstepLauncher, SlurmLockstepLauncher
from kdsweep.sweeps.grid_sweeper import GridSweeper

# Signals that end a sweep in an orderly way. Windows has no SIGHUP.
ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

register()


@hydra.main(config_path=str(CONF), config_name="train", execution_whitelist=EXECUTION_WHITELIST)
def train(cfg: DictConfig) -> float:
    """One job under a stock launcher (basic, joblib, ...). The lockstep launcher never calls it."""
    from kdsweep.sweeps.launcher import log_launch

    if HydraConfig.get().mode == RunMode.RUN:  # in a sweep the launcher has logged the job
        log_launch("1 run")
    from kdsweep.sweeps.single_job import train_one
    from kdsweep.tracking.disk import report_disk_full

    if cfg.debug:
        os.environ["HYDRA_FULL_ERROR"] = "1"
    with report_disk_full(Path(str(HydraConfig.get().runtime.output_dir))):
        return train_one(cfg, HydraConfig.get())


def main() -> None:
    """What train.py and `kdsweep train` run."""
    sys.excepthook = _print_error
    leave_rest_to_system()
    if not sys.stderr.isatty():  # libraries' bars would fill a log; `common.pacing` has lines
        os.environ.setdefault("TQDM_DISABLE", "1")
    signal.signal(signal.SIGTERM, _terminate)
    # Of a terminal that closes, as at the end of an ssh session; nohup has it ignored.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)
    try:
        run()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command with resume=true resumes the sweep\n")
        sys.exit(130)
    except SystemExit as error:  # of a callback, of whose other exceptions Hydra makes warnings
        if isinstance(error.__cause__, UserError) and _shows_tracebacks():
            raise error.__cause__ from None
        raise
    except ValueError as error:
        if (sentence := switch_error(error)) is None or _shows_tracebacks():
            raise
        sys.exit(sentence)


def prepare() -> None:
    """Before a config is composed: Hydra's plugins, and the user's modules as they are now."""
    plugins = (GridSweeper, SlurmLockstepLauncher, RayLockstepLauncher, OfferedConfigs)
    for plugin in plugins:  # Hydra finds plugins by entry points only
        Plugins.instance().register(plugin)
    forget_edited_modules()


def run() -> None:
    """Train what the words of `sys.argv` name, in this process.

    Raises SystemExit with a sentence for switches that no command has, and whatever ends a sweep.
    """
    prepare()
    words = ["hydra.launcher.detach=true" if word == "--detach" else word for word in sys.argv[1:]]
    sys.argv[1:] = [redact_argument(word) for word in words]
    if faults := switch_faults(sys.argv[1:]):
        sys.exit("\n".join(faults))
    if "${" in os.getcwd():
        sys.exit(
            f"the current folder must have no ${{ in its path, got {os.getcwd()}: Hydra reads it"
        )
    with refusals_in_sentences():
        train()


def _terminate(number: int, frame: object) -> None:
    """End open runs as KILLED; schedulers and shells may send a signal again meanwhile."""
    for again in ENDINGS:
        signal.signal(again, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _hang_up(number: int, frame: object) -> None:
    """As SIGTERM; nothing more is written to the terminal or pipe, which are gone by now."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        try:
            is_file = stat.S_ISREG(os.fstat(output).st_mode)
        except OSError:
            is_file = False
        if not is_file:
            os.dup2(nowhere, output)
    os.close(nowhere)
    _terminate(number, frame)


def _shows_tracebacks() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _print_error(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """A message for what the user can correct, a traceback for everything else."""
    if isinstance(error, CompactHydraException) and not _shows_tracebacks():
        sys.stderr.write(redact_text(f"{error}\n"))
    else:
        sys.stderr.write(redact_text("".join(format_exception(kind, error, traceback))))
