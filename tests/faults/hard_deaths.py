"""Tasks that take their worker with them in C code, for lack of memory or without end:
`python -m tests.faults.hard_deaths DATABASE` works on them with little memory and little patience.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import partial
from typing import Any, Final, cast

import wf
from wf.cli import working
from wf.cli.main import main
from wf.engine import watch
from wf.engine.settings import WorkerSettings

MEMORY: Final = 3 << 30
"""Bytes of addresses: enough to work with, and less than what is asked for."""
HUGE: Final = 1 << 40


def write_without_asking() -> None:
    """As libraries in C do that do not look what malloc answers: NULL, here."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    ctypes.memset(libc.malloc(HUGE) or 0, 1, 4_096)


@wf.task
async def modest(number: int) -> int:
    await wf.wait.for_("200ms")
    return number


@wf.task
async def asks_for_too_much() -> int:
    return len(bytearray(HUGE))


@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
def step_asks_for_too_much() -> int:
    return len(bytearray(HUGE))


@wf.task
async def its_step_asks_for_too_much() -> int:
    return await step_asks_for_too_much()


@wf.task
async def killed_in_its_body() -> None:
    write_without_asking()


@wf.step
def killed() -> None:
    write_without_asking()


@wf.task
async def killed_in_its_step() -> None:
    await killed()


@wf.task
async def stuck_in_c() -> None:
    """It lets other threads work, and hears no interrupt."""
    ctypes.CDLL(None).sleep(3_600)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cast("Any", working).WorkerSettings = partial(
        WorkerSettings, blocked_ms=500, back_offs_ms=(50, 50, 50, 50)
    )
    cast("Any", watch).GIVE_UP_SECONDS = 0.5
    cast("Any", watch).SAY_SECONDS = 0.2
    sys.exit(main(["worker", __file__, "--db", sys.argv[1]]))
