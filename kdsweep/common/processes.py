"""Identification of the process that owns some work, so that others can see if it still runs.

A pid is not enough: after a restart, or in another container, it is that of another program.
"""

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

STALE_SECONDS = 1800.0  # without a heartbeat, after which an owner elsewhere is considered dead
RESTART_SECONDS = 120.0  # the same for an owner on a host of this name, if this host restarted


def new_lease() -> dict[str, Any]:
    """The identity of this process, and the time as its heartbeat."""
    pid = os.getpid()
    return {**_pid_scope(), "pid": pid, "born": _process_start_time(pid), "beat": time.time()}


def _pid_scope() -> dict[str, str | None]:
    """Host, boot id and pid namespace: pids are comparable only if all three are equal.

    Containers and cloned machines may share a host name. Without /proc only the name is known.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # pid:[4026531836]
    except OSError:
        namespace = None
    boot = _read_text(Path("/proc/sys/kernel/random/boot_id"))
    return {"host": socket.gethostname(), "boot": boot, "pids": namespace}


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def is_alive(known: dict[str, Any] | None) -> bool:
    """Whether an owner still runs: by its process if that is visible, else by its heartbeat."""
    if known is None:
        return False
    if not is_local(known):
        seconds = time.time() - known["beat"]
        return bool(seconds < (RESTART_SECONDS if host_has_restarted(known) else STALE_SECONDS))
    return is_running(known)


def is_running(known: dict[str, Any]) -> bool:
    """Whether the process of a local owner still runs, not another one with its pid."""
    pid = known["pid"]
    if pid != os.getpid():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    # Owners written by earlier versions have only their pid.
    return "born" not in known or bool(known["born"] == _process_start_time(pid))


def is_this_process(known: dict[str, Any] | None) -> bool:
    """Whether an owner is this process."""
    return known is not None and is_local(known) and bool(known["pid"] == os.getpid())


def is_local(known: dict[str, Any]) -> bool:
    """Whether an owner's pid is comparable with those of this process."""
    # Owners written by earlier versions have only their host.
    return all(known.get(key, value) == value for key, value in _pid_scope().items())


def host_has_restarted(known: dict[str, Any]) -> bool:
    """Whether this host has an owner's host name and was started after its last heartbeat."""
    started = re.search(r"^btime (\d+)$", _read_text(Path("/proc/stat")) or "", re.MULTILINE)
    beat, same_name = known.get("beat"), known["host"] == socket.gethostname()
    if started is None or beat is None:
        return False
    return bool(same_name and beat < float(started[1]))


def _process_start_time(pid: int) -> str | None:
    """The start time of a local process, in ticks since boot; None if unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
