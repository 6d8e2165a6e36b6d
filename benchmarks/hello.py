"""The smallest task, and how much memory its process took at most."""

from __future__ import annotations

import atexit
import re
import sys
from pathlib import Path

import wf


def tell_peak() -> None:
    """As `benchmarks.machine` reads it, without importing anything more."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    print(f"peak {int(found[1]) / 1024:.1f}", file=sys.stderr)


atexit.register(tell_peak)


@wf.step
async def greet(name: str) -> str:
    return f"hello {name}"


@wf.task
async def hello() -> str:
    return await greet("world")
