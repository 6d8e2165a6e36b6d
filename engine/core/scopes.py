"""anyio's cancel scopes in a body, hashed by (run, number) like the loop's tasks.

A scope that is canceled walks a set of the scopes inside it, which hash by address: with a task
group of anyio, in which each task has a scope of its own, the order of the cancels would differ
from process to process. Agent libraries and web clients are written on anyio, so this is worth a
look into its backend; nothing else of it is touched, and outside bodies nothing changes.
"""

from __future__ import annotations

import sys
from asyncio import events
from importlib import import_module
from typing import Any

from wf.engine.core.loop import BodyLoop

_BACKEND = "anyio._backends._asyncio"
_done: list[type[Any]] = []


def order_scopes() -> None:
    """Where anyio has been imported: put a subclass in the place of its class, once."""
    if _done or "anyio" not in sys.modules:
        return
    backend: Any = import_module(_BACKEND)
    scope = type(
        "CancelScope", (backend.CancelScope,), {"__slots__": ("number",), "__hash__": _hash}
    )
    _done.append(scope)
    backend.CancelScope = scope


def _hash(self: Any) -> int:
    try:
        return self.number
    except AttributeError:
        loop = events._get_running_loop()  # pyright: ignore[reportPrivateUsage]
        self.number = loop.next_hash() if type(loop) is BodyLoop else object.__hash__(self)
        return self.number
