"""Which store a call uses that names none: the innermost `with client:`; else a running Engine or
what `wf.connect` made; else WF_URL; else the project's."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Final, Protocol

from wf.history import project
from wf.history.errors import NotConnected
from wf.history.store import Store

DEFAULT_ENVIRONMENT: Final = "dev"


class Connection(Protocol):
    """What a Client and an Engine have in common."""

    store: Store
    environment: str


_innermost: Final[ContextVar[tuple[Connection, ...]]] = ContextVar("wf_connections", default=())
_process_wide: Final[list[Connection]] = []


def push(connection: Connection) -> None:
    """Inner to all others, in this context."""
    _innermost.set((*_innermost.get(), connection))


def pop(connection: Connection) -> None:
    _innermost.set(tuple(one for one in _innermost.get() if one is not connection))


def push_process_wide(connection: Connection) -> None:
    """For all threads and tasks of the process (an Engine that runs, `wf.connect`)."""
    _process_wide.append(connection)


def pop_process_wide(connection: Connection) -> None:
    if connection in _process_wide:
        _process_wide.remove(connection)


def innermost() -> Connection | None:
    connections = _innermost.get() or tuple(_process_wide)
    return connections[-1] if connections else None


def url() -> str:
    """WF_URL, else what the project here names. Raises NotConnected, ConfigError."""
    found = os.environ.get("WF_URL") or project.database()
    if not found:
        raise NotConnected(
            "no store is named: use `async with wf.Engine(database=…)`, `with wf.Client(url):` or "
            "`wf.connect(url)`, set WF_URL (sqlite:///path or postgresql://…), or name it in "
            "wf_config.py"
        )
    return found


def environment() -> str:
    """WF_ENVIRONMENT, or "dev"."""
    return os.environ.get("WF_ENVIRONMENT") or DEFAULT_ENVIRONMENT
