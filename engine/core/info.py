"""What a body may know of its run, and the digest by which values are compared."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from msgspec import Struct


class RunInfo(Struct):
    """What a body may know of its run. Ids are shown ones, times ms; `payload` is JSON."""

    id: bytes
    task: str
    payload: bytes
    environment: str = "dev"
    chapter: int = 1
    attempt: int = 1
    created_at: int = 0
    tags: tuple[str, ...] = ()
    parent_id: bytes | None = None
    root_id: bytes | None = None
    version: str = ""
    queue: str = ""
    restarts: int = 0
    options: bytes = b"{}"
    """Of its trigger, JSON."""


_signed: Final = struct.Struct(">q").unpack
_empty: Final = blake2b(digest_size=8)
"""Copied for each digest: to make another one takes longer than to digest a few arguments."""


def digest_of(data: bytes) -> int:
    """64 bits of a value: a signed integer, as databases store it."""
    digest = _empty.copy()
    digest.update(data)
    return _signed(digest.digest())[0]
