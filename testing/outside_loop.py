"""Async tests and notebooks: their loop runs while a test's engine runs others."""

from __future__ import annotations

import asyncio
from asyncio import events, tasks
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

_tasks: Any = cast("Any", tasks)


@contextmanager
def outside_loop() -> Generator[None]:
    """In this thread no loop runs and no task is current; afterwards they are as before."""
    loop = events._get_running_loop()
    if loop is None:
        yield
        return
    task = asyncio.current_task(loop)
    if task is not None:
        _tasks._leave_task(loop, task)
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(loop)
        if task is not None:
            _tasks._enter_task(loop, task)
