"""Values sealed on their way into the store, and opened on their way out of it.

A sealed value is two bytes, SEALED, and what the codec made of it. Neither JSON nor an id begins
so: what was written before there was a codec is read as it is, and what is sealed already is not
sealed again. A value that cannot be opened (its key is lost, or no codec is configured) stays as it
is stored, so that nothing is lost with it, and is refused where somebody wants to read it.
"""

from __future__ import annotations

import base64
from typing import Final, Protocol, overload

from wf.history.errors import CodecError, DeclarationError

NO_JSON: Final = 0xFF
"""The first byte of what is neither JSON nor an id: of sealed values, and of references."""
SEALED: Final = bytes([NO_JSON, 1])
SEALED_TEXT: Final = "wf-sealed:"
"""The same of a column that holds text."""
KEY_LOST: Final = "codec"
"""`Blocked.reason` of a run with values that cannot be opened here. Its detail is not sealed, and
every worker that joins tries it again: whether it has the key, its code does not tell."""
_EMPTY: Final = frozenset({b"{}", b"null"})
"""Options that nobody gave, the schema of any value: they say nothing, and stay as they are."""


class Codec(Protocol):
    """What makes of a value (JSON, as bytes) the bytes that are stored, and back: encryption,
    compression. Called from several threads at once. `decode` raises where it has not the key."""

    def encode(self, data: bytes) -> bytes: ...
    def decode(self, data: bytes) -> bytes: ...


def check_codec(codec: object) -> None:
    """Raises DeclarationError."""
    for name in ("encode", "decode"):
        if not callable(getattr(codec, name, None)):
            raise DeclarationError(
                f"codec={codec!r} has no {name}(bytes) -> bytes: give an object with encode and "
                "decode"
            )


class Opened(bytes):
    """A value that was opened. `sealed`: as it is stored; what is copied from row to row (the
    output of a child into its parent's history) is sealed once."""

    sealed: bytes


class Unopened(bytes):
    """A sealed value, and why it could not be opened."""

    reason: str


def is_sealed(data: bytes | None) -> bool:
    return data is not None and data.startswith(SEALED)


def check_open(data: bytes | None, what: str) -> None:
    """Raise CodecError where somebody wants to read a value that is sealed."""
    if is_sealed(data):
        raise CodecError(f"WF2013 {what} {why_sealed(data)}")


def why_sealed(data: bytes | None) -> str:
    """In words, with what to do."""
    if isinstance(data, Unopened):
        return (
            f"is sealed, and the codec cannot open it ({data.reason}): give the codec back the "
            "key that it was sealed with"
        )
    return "is sealed, and there is no codec here: configure the one that sealed it, codec=…"


class Sealing:
    """A codec, as the store uses it."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    @overload
    def seal(self, data: bytes) -> bytes: ...
    @overload
    def seal(self, data: None) -> None: ...
    @overload
    def seal(self, data: bytes | None) -> bytes | None: ...
    def seal(self, data: bytes | None) -> bytes | None:
        """Raises CodecError where the codec fails."""
        if isinstance(data, Opened):
            return data.sealed
        if data is None or data.startswith(SEALED):
            return data
        try:
            return SEALED + self._codec.encode(data)
        except Exception as error:
            raise CodecError(
                f"WF2013 the codec cannot seal a value ({_told(error)}): nothing was written"
            ) from error

    def seal_given(self, data: bytes) -> bytes:
        """The same of what mostly says nothing."""
        return data if data in _EMPTY else self.seal(data)

    @overload
    def open(self, data: bytes) -> bytes: ...
    @overload
    def open(self, data: None) -> None: ...
    @overload
    def open(self, data: bytes | None) -> bytes | None: ...
    def open(self, data: bytes | None) -> bytes | None:
        """Opened, or Unopened; what is not sealed as it is."""
        if data is None or not data.startswith(SEALED):
            return data
        try:
            opened = Opened(self._codec.decode(data[len(SEALED) :]))
        except Exception as error:
            closed = Unopened(data)
            closed.reason = _told(error)
            return closed
        opened.sealed = data
        return opened

    def seal_text(self, text: str) -> str:
        sealed = self.seal(text.encode())
        return SEALED_TEXT + base64.b64encode(sealed).decode()

    def open_text(self, text: str) -> str:
        if not text.startswith(SEALED_TEXT):
            return text
        opened = self.open(base64.b64decode(text.removeprefix(SEALED_TEXT)))
        return f"(it {why_sealed(opened)})" if is_sealed(opened) else opened.decode()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
