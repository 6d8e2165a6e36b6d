"""Names and keys that people give: what every store can hold and look up."""

from __future__ import annotations

from typing import Any, Final

from wf.history.errors import DeclarationError

MAX_NAME_BYTES: Final = 512
"""A key or a name in UTF-8: several of them are one row of an index, which on Postgres may have
2,700."""


def check_name(value: Any, what: str) -> str:
    """A string that every store can hold and look up. Raises DeclarationError."""
    if not isinstance(value, str) or not value:
        raise DeclarationError(f"{what}={value!r}: give a string that is not empty")
    if not is_text(value):
        raise DeclarationError(f"{what}={value!r}: leave out NUL and lone surrogates")
    if len(value.encode()) > MAX_NAME_BYTES:
        raise DeclarationError(
            f"{what} has {len(value.encode()):,} bytes: give at most {MAX_NAME_BYTES}, "
            "a digest of something longer, say"
        )
    return value


def is_text(value: str) -> bool:
    """Every store can hold it: Postgres has no NUL in texts, UTF-8 no lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
