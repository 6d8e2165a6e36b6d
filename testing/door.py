"""What stands around every call of a watched store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Door(Protocol):
    """`name` of the method, `call` to do it."""

    def __call__(self, name: str, call: Callable[[], T], /) -> T: ...
