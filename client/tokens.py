"""Data of a token is checked where it is handed in, against the JSON Schema that the token
carries."""

from __future__ import annotations

import json

from wf.history.errors import PayloadError


def check_data(data: bytes, schema: bytes, token_id: str) -> None:
    """Raise PayloadError, naming the field, where the data does not fit."""
    if schema == b"null":
        return
    from jsonschema import Draft202012Validator

    problems = Draft202012Validator(json.loads(schema)).iter_errors(json.loads(data))  # pyright: ignore[reportUnknownMemberType]
    first = next(iter(problems), None)
    if first is not None:
        place = ".".join(str(part) for part in first.absolute_path)
        raise PayloadError(f"data of {token_id}: {place + ': ' if place else ''}{first.message}")
