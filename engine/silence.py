"""While a body is replayed, what it prints does not come out: stdout is silent for this thread, and
this thread only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

_here = threading.local()


class _Stdout:
    """sys.stdout, except in threads that are silent."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def write(self, text: str) -> int:
        if getattr(_here, "silent", 0):
            return len(text)
        return self._real.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextmanager
def silent() -> Generator[None]:
    if not isinstance(sys.stdout, _Stdout):
        sys.stdout = _Stdout(sys.stdout)  # pyright: ignore[reportAttributeAccessIssue]
    _here.silent = getattr(_here, "silent", 0) + 1
    try:
        yield
    finally:
        _here.silent -= 1
