"""Columns of many rows as Postgres arrays, in its binary format.

Built here with `struct` and `join`: psycopg's own list dumper walks every item through Python
several times, which would be half of the store's time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_INT8, _BYTEA, _TEXT = 20, 17, 25
_NULL: Final = b"\xff\xff\xff\xff"
_length: Final = struct.Struct(">i").pack


class Int8s(bytes):
    """`int8[]`"""


class Byteas(bytes):
    """`bytea[]`"""


class Texts(bytes):
    """`text[]`"""


def int8s(values: Sequence[int]) -> Int8s:
    items: list[int] = [8] * (2 * len(values))
    items[1::2] = values
    return Int8s(_head(_INT8, len(values)) + struct.pack(">" + "iq" * len(values), *items))


def byteas(values: Sequence[bytes | None]) -> Byteas:
    if _are_one(values):
        value = values[0]
        item = _NULL if value is None else _length(len(value)) + value
        return Byteas(_head(_BYTEA, len(values)) + item * len(values))
    parts = [_head(_BYTEA, len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_length(len(value)), value)
    return Byteas(b"".join(parts))


def texts(values: Sequence[str]) -> Texts:
    if _are_one(values):
        data = values[0].encode()
        return Texts(_head(_TEXT, len(values)) + (_length(len(data)) + data) * len(values))
    parts = [_head(_TEXT, len(values))]
    for value in values:
        data = value.encode()
        parts += (_length(len(data)), data)
    return Texts(b"".join(parts))


def table(kinds: str, rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """One array per column. `kinds` has a letter for each: i(nt), b(ytes or None), t(ext)."""
    if not rows:
        return [_EMPTY[kind] for kind in kinds]
    columns = zip(*rows, strict=True)
    return [_MADE[kind](column) for kind, column in zip(kinds, columns, strict=True)]


def sparse(kinds: str, usual: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """Like `table`, but a column in which all rows hold what is usual is empty: where unnest is
    given it beside others, it answers NULLs. `usual`: a value for each column, or ..., where there
    is none."""
    return [
        _EMPTY[kind] if column.count(value) == len(column) else _MADE[kind](column)
        for kind, value, column in zip(kinds, usual, zip(*rows, strict=True), strict=True)
    ]


def _are_one(values: Sequence[Any]) -> bool:
    """All alike, as in most columns of a batch."""
    return len(values) > 1 and values[0] == values[-1] and values.count(values[0]) == len(values)


def _head(oid: int, length: int) -> bytes:
    """One dimension that counts from 1; the flag says that there may be nulls."""
    if length == 0:
        return struct.pack(">iii", 0, 0, oid)
    return struct.pack(">iiiii", 1, 1, oid, length, 1)


_MADE: Final[dict[str, Callable[[Sequence[Any]], bytes]]] = {"i": int8s, "b": byteas, "t": texts}
_EMPTY: Final = {kind: made(()) for kind, made in _MADE.items()}

ARRAYS: Final[dict[type[bytes], int]] = {Int8s: 1016, Byteas: 1001, Texts: 1009}
"""And what Postgres calls their types."""


class _Dumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


def register(adapters: AdaptersMap) -> None:
    """Teach a connection these three."""
    for kind, oid in ARRAYS.items():
        adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (_Dumper,), {"oid": oid}))
