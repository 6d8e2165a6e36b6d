"""Codecs for tests. `KeyRing` is the one of docs/values.md: AES-GCM, with a key id before each
value, so that keys can be changed while old values stay readable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12


class KeyRing:
    """`keys`: by id, of one byte each; `current` seals what is written from now on."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._current = current

    def encode(self, data: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        name = self._current.encode()
        return name + nonce + self._keys[self._current].encrypt(nonce, data, name)

    def decode(self, data: bytes) -> bytes:
        name, rest = data[:1], data[1:]
        key = self._keys[name.decode()]
        return key.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], name)


def key_ring(current: str = "a", names: str | None = None) -> KeyRing:
    """With keys that are the same in every process."""
    return KeyRing({name: name.encode() * 32 for name in names or current}, current)
