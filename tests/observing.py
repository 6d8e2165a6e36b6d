"""Looking at a run from outside until it is as expected."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests import warm
from wf import Client, RunView

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
"""A machine that is this slow is broken."""


def until(look: Callable[[], T]) -> T:
    """What `look` answers, as soon as that is true. Fails after the deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    pause = threading.Event()
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        pause.wait(0.01)
    return found


def ended(client: Client, run_id: str) -> RunView:
    """The run, when it has ended."""
    until(lambda: client.runs.retrieve(run_id).status.ended)
    return client.runs.retrieve(run_id)


def wf(*arguments: str, database: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return warm.run([*arguments, "--db", database], cwd=cwd, env={**os.environ, "NO_COLOR": "1"})
