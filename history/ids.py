"""Identifiers: UUIDv7, 16 bytes in a store, `run_` and 22 characters of base58 for people.

The first 48 bits are milliseconds, so that ids sort by the time they were made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUE: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_LENGTH: Final = 22
"""58^22 > 2^128: every id is shown with the same length."""


def noisy_id(at_ms: int, noise: bytes) -> bytes:
    """RFC 9562, version 7: 48 bits of time, 74 of noise (10 bytes, of which the version and variant
    bits are set)."""
    tail = bytearray(noise)
    tail[0] = (tail[0] & 0x0F) | 0x70
    tail[2] = (tail[2] & 0x3F) | 0x80
    return at_ms.to_bytes(6, "big") + bytes(tail)


class _Order:
    """Ids that one process makes within a millisecond sort as they were made (RFC 9562, 6.2): the
    12 bits after the version count, from a random start. Two threads at once may draw one count:
    the order between them is nobody's, and 62 random bits keep the ids apart."""

    def __init__(self) -> None:
        self._at_ms = 0
        self._count = 0

    def next(self, at_ms: int) -> int:
        if at_ms != self._at_ms:
            self._at_ms = at_ms
            self._count = os.urandom(1)[0]
        elif self._count < _MAX_COUNT:
            self._count += 1
        return self._count


_MAX_COUNT: Final = 0xFFF
_order: Final = _Order()


def new_id(at_ms: int) -> bytes:
    """A fresh id, made at that time."""
    return noisy_id(at_ms, _order.next(at_ms).to_bytes(2, "big") + os.urandom(8))


def derived_id(at_ms: int, run_id: bytes, chapter: int, ordinal: int) -> bytes:
    """The id of what operation `ordinal` makes: known without asking, the same on every replay."""
    source = run_id + chapter.to_bytes(4, "big") + ordinal.to_bytes(4, "big")
    return noisy_id(at_ms, blake2b(source, digest_size=10).digest())


def member_ids(batch_id: bytes, places: Iterable[int]) -> list[bytes]:
    """The ids of a batch's runs: as old as the batch, and sorted by their places (below 2^24): 12
    bits of the place follow the version, 12 the variant, then 50 of noise."""
    noise = blake2b(batch_id, digest_size=7).digest()
    low = 2 << 62 | int.from_bytes(noise, "big") & ((1 << 50) - 1)
    high = int.from_bytes(batch_id[:6], "big") << 16 | 7 << 12
    return [
        ((high | place >> 12) << 64 | low | (place & 0xFFF) << 50).to_bytes(16, "big")
        for place in places
    ]


def made_at(identifier: bytes) -> int:
    """The milliseconds in an id."""
    return int.from_bytes(identifier[:6], "big")


def show(prefix: str, identifier: bytes) -> str:
    """`run_…`: what people see."""
    number = int.from_bytes(identifier, "big")
    pairs: list[str] = []
    for _ in range(_LENGTH // 2):
        number, pair = divmod(number, 58 * 58)
        pairs.append(_PAIRS[pair])
    return f"{prefix}_{''.join(reversed(pairs))}"


def parse(prefix: str, shown: str) -> bytes:
    """The id behind what people type.

    Raises ValueError where it is none.
    """
    head, _, letters = shown.rpartition("_")
    if head != prefix or len(letters) != _LENGTH:
        raise ValueError(
            f"{shown!r} is no {prefix} id: it looks like {prefix}_ and {_LENGTH} characters"
        )
    number = 0
    for letter in letters:
        if letter not in _VALUE:
            raise ValueError(f"{shown!r} is no {prefix} id: {letter!r} is not a letter of base58")
        number = number * 58 + _VALUE[letter]
    if number >> 128:
        raise ValueError(f"{shown!r} is no {prefix} id")
    return number.to_bytes(16, "big")
