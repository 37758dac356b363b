"""A throw-away Slurm: controller, one node and munge, in a folder of their own, on free ports."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
# Debian keeps daemons in folders that are not in the PATH of a user.
SEARCHED = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
SECONDS = 60  # until a daemon is up: a busy machine takes a while
NODE = "node"
# cred_expire: a job that was requeued starts again after so many seconds, 120 by default.
CONFIG = """\
ClusterName=kdsweep
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=300
KillWait=20
JobRequeue=1
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
{more}
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster of one node."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which Slurm's programs use this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def call(self, *words: str) -> str:
        """The output of a program of Slurm's."""
        return _call(words, self.environment)

    def jobs(self) -> dict[str, str]:
        """The state of every job that is waiting or running."""
        lines = self.call("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def kill_node(self) -> None:
        """Kill the node's daemon with -9; its jobs do not notice."""
        file = self.folder / "slurmd.pid"
        os.kill(int(file.read_text()), signal.SIGKILL)
        file.unlink()  # which the next daemon writes after `slurmd` has returned

    def start_node(self) -> None:
        """Start the node's daemon, and wait until the controller has it."""
        self.call("slurmd", "-N", NODE, "-f", str(self.folder / "slurm.conf"))
        _wait_until(self._node_is_up, self.folder / "slurmd.log")

    def _node_is_up(self) -> bool:
        file = self.folder / "slurmd.pid"
        state = self.call("sinfo", "--noheader", "--format=%t").strip()
        return file.exists() and file.read_text() != "" and state in ("idle", "mix", "alloc")


@contextlib.contextmanager
def slurm(cpus: int = 2, **settings: str) -> Iterator[Slurm]:
    """A cluster for as long as the context lasts; the test is skipped where Slurm is not installed.

    ``cpus``: of its node, whatever the machine has. ``settings``: further lines of slurm.conf.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]:
        pytest.skip(f"no Slurm here: {' and '.join(missing)} not found (packages slurm-wlm, munge)")
    # Not pytest's tmp_path: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="kdsweep-slurm-", ignore_cleanup_errors=True) as made:
        cluster = Slurm(Path(made))
        _write_config(cluster.folder, cpus, settings)
        with _munge(cluster.folder), contextlib.ExitStack() as daemons:
            daemons.callback(_stop, cluster.folder / "slurmctld.pid")
            cluster.call("slurmctld", "-f", str(cluster.folder / "slurm.conf"))
            _wait_until(lambda: _pings(cluster), cluster.folder / "slurmctld.log")
            daemons.callback(_stop, cluster.folder / "slurmd.pid")
            cluster.start_node()
            daemons.callback(_cancel_all, cluster)
            yield cluster


def _write_config(folder: Path, cpus: int, settings: Mapping[str, str]) -> None:
    folder.chmod(0o755)  # munge and its clients pass through it
    for name in ("state", "spool"):
        (folder / name).mkdir()
    control, port = _free_ports()
    text = CONFIG.format(
        folder=folder,
        host=socket.gethostname().partition(".")[0],
        user=getuser(),
        control=control,
        port=port,
        node=NODE,
        cpus=cpus,
        more="\n".join(f"{key}={value}" for key, value in settings.items()),
    )
    (folder / "slurm.conf").write_text(text)


@contextlib.contextmanager
def _munge(folder: Path) -> Iterator[None]:
    """Munge with a key of its own, which no other cluster of this machine has."""
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    files = {"key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
    files |= {"socket": "munge.socket", "seed-file": "munged.seed"}
    # --force: the folder above is /tmp, which all may write
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    try:
        _call(["munged", "--force", *options], os.environ)
        yield
    finally:
        _stop(folder / "munged.pid")


def _pings(cluster: Slurm) -> bool:
    with contextlib.suppress(AssertionError):
        return "is UP" in cluster.call("scontrol", "ping")
    return False


def _cancel_all(cluster: Slurm) -> None:
    cluster.call("scancel", "--full", "--signal=KILL", "--state=RUNNING")
    cluster.call("scancel", f"--user={getuser()}")
    _wait_until(lambda: not cluster.jobs(), cluster.folder / "slurmctld.log")


def _stop(pid_file: Path) -> None:
    """Stop a daemon by its pid file, and wait until it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(SECONDS * 10):
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def _call(words: Sequence[str], environment: Mapping[str, str]) -> str:
    program = shutil.which(words[0], path=SEARCHED)
    assert program is not None, words[0]
    # Not a pipe: a daemon keeps it open.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [program, *words[1:]],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        output.seek(0)
        text = output.read()
    assert done.returncode == 0, f"{' '.join(words)}: {text}"
    return text


def _wait_until(is_so: Callable[[], bool], log: Path) -> None:
    for _ in range(SECONDS * 5):
        if is_so():
            return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
