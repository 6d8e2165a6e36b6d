"""`client.tokens`: hand in what runs wait for. Data is checked where it is handed in, against the
JSON Schema that the token carries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wf.client.asking import any_json, parse_id
from wf.client.views import TokenView, token_view
from wf.history.errors import NotFound, PayloadError
from wf.history.model import Token
from wf.history.rows import TOKEN_STATUS
from wf.history.sealing import check_open

if TYPE_CHECKING:
    from wf.client.client import Client


class Tokens:
    """`client.tokens`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def complete(self, token_id: str, data: Any = None) -> TokenView:
        """Hand in the data that runs wait for. Raises NotFound, AlreadyEnded, PayloadError where it
        does not fit."""
        token = self._get(token_id)
        encoded = any_json.encode_plain(data)
        check_data(encoded, token.schema, token_id)
        store = self._client.store
        return token_view(store.end_token(token.id, "COMPLETED", encoded, store.now()))

    def cancel(self, token_id: str) -> TokenView:
        """Nobody will complete it: waiters get TokenCanceled. Raises NotFound, AlreadyEnded."""
        store = self._client.store
        token = self._get(token_id)
        return token_view(store.end_token(token.id, "CANCELED", None, store.now()))

    def retrieve(self, token_id: str) -> TokenView:
        """Raises NotFound."""
        return token_view(self._get(token_id))

    def _get(self, shown: str) -> Token:
        token = self._client.store.get_token(parse_id("token", shown))
        if token is None or token.environment != self._client.environment:
            raise NotFound(
                f"there is no token {shown} in {self._client.place}: "
                "`wf tokens list` shows those that are there"
            )
        return token

    def list(self, *, status: str = "", run: str = "", limit: int = 50) -> list[TokenView]:
        """Newest first."""
        found = self._client.store.list_tokens(
            self._client.environment,
            status=_token_status(status),
            run_id=parse_id("run", run) if run else None,
            limit=limit,
        )
        return [token_view(token) for token in found]


def _token_status(value: str) -> str:
    if value and value.upper() not in TOKEN_STATUS:
        raise PayloadError(f"status={value!r}: give one of {', '.join(TOKEN_STATUS)}")
    return value.upper()


def check_data(data: bytes, schema: bytes, token_id: str) -> None:
    """Raise PayloadError, naming the field, where the data does not fit."""
    if schema == b"null":
        return
    check_open(schema, f"the schema of {token_id}")
    from jsonschema import Draft202012Validator

    problems = Draft202012Validator(json.loads(schema)).iter_errors(json.loads(data))  # pyright: ignore[reportUnknownMemberType]
    first = next(iter(problems), None)
    if first is not None:
        place = ".".join(str(part) for part in first.absolute_path)
        raise PayloadError(f"data of {token_id}: {place + ': ' if place else ''}{first.message}")
