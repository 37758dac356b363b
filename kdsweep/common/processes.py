"""Which process works on something, so that another one can see whether it still lives.

A pid alone does not: after a restart, or in another container, it is another program's.
"""

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

STALE_SECONDS = 1800.0  # after how long a silence an owner elsewhere is taken for dead,
RESTART_SECONDS = 120.0  # or one on a host of our name, which has started since


def owner() -> dict[str, Any]:
    """This process, as other processes can recognise it."""
    pid = os.getpid()
    return {**_place(), "pid": pid, "born": _born(pid), "beat": time.time()}


def _place() -> dict[str, str | None]:
    """Where a pid means the same process: one kernel since it started, and one table of pids.

    Containers and cloned machines may share a host's name. Without /proc the name is all there is.
    """
    return {
        "host": socket.gethostname(),
        "boot": _text(Path("/proc/sys/kernel/random/boot_id")),
        "pids": _pids(),
    }


def _pids() -> str | None:
    """Which table of pids this process is in: `pid:[4026531836]`."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def is_alive(known: dict[str, Any] | None) -> bool:
    """Whether an owner still works: by its process where that can be seen, else by its beat."""
    if known is None:
        return False
    if not is_local(known):
        silence = time.time() - known["beat"]
        return bool(silence < (RESTART_SECONDS if host_has_restarted(known) else STALE_SECONDS))
    return is_running(known)


def is_running(known: dict[str, Any]) -> bool:
    """Whether the very process of an owner that is here still runs, not just one of its pid."""
    pid = known["pid"]
    if pid != os.getpid():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    # Owners noted by an older kdsweep have only their pid.
    return "born" not in known or bool(known["born"] == _born(pid))


def is_this_process(known: dict[str, Any] | None) -> bool:
    """Whether an owner is this very process."""
    return known is not None and is_local(known) and bool(known["pid"] == os.getpid())


def is_local(known: dict[str, Any]) -> bool:
    """Whether an owner's pid is one of this process's own pids."""
    # Owners noted by an older kdsweep have only their host.
    return all(known.get(key, value) == value for key, value in _place().items())


def host_has_restarted(known: dict[str, Any]) -> bool:
    """Whether an owner was last heard of before a host of its host's name started: this one."""
    started = re.search(r"^btime (\d+)$", _text(Path("/proc/stat")) or "", re.MULTILINE)
    beat, same_name = known.get("beat"), known["host"] == socket.gethostname()
    if started is None or beat is None:
        return False
    return bool(same_name and beat < float(started[1]))


def _born(pid: int) -> str | None:
    """When a process of this host was started, in ticks since boot; None if unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
