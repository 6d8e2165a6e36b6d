"""Which process of which machine a worker is, so that those on this machine that have ended can be
told without waiting for their lease.

A worker's `host` is `name@MACHINE.START`: MACHINE stands for one boot of one kernel and one
namespace of process ids, START is the kernel's own time at which the process began. Where MACHINE
is ours and no process of that pid began at START, the worker has ended, for certain: nothing here
compares clocks, and another container that has the same name is another MACHINE. Where the system
does not tell (no /proc), `host` is the name alone, and leases do the work.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b
from pathlib import Path

from wf.history.model import WorkerInfo


def this_host() -> str:
    """What this process writes into `workers.host`."""
    name, start = socket.gethostname(), started(os.getpid())
    return f"{name}@{_machine()}.{start}" if _machine() and start else name


def ended(workers: Iterable[tuple[int, WorkerInfo]]) -> list[int]:
    """The ids of those that were processes of this machine, and have ended."""
    gone: list[int] = []
    for worker, info in workers:
        machine, dot, start = info.host.rpartition("@")[2].partition(".")
        if dot and machine == _machine() and started(info.pid) not in {start, None}:
            gone.append(worker)
    return gone


def started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks since boot; "" where it has ended; None where
    it is another user's and the system hides it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if _is_there(pid) else ""
    fields = text.rpartition(")")[2].split()
    is_dead = fields[0] in {"Z", "X", "x"}
    return "" if is_dead else fields[19]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return blake2b(f"{boot} {namespace}".encode(), digest_size=6).hexdigest()
