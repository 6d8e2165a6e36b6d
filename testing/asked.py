"""Standing answers of a test: to tokens as they are made, to messages as they are awaited."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from wf.client.client import Client
from wf.client.views import TokenView, token_view
from wf.engine.body import Body
from wf.engine.core.durations import to_ms
from wf.engine.core.messages import AwaitMessageCall
from wf.history.events import Status
from wf.history.ids import show
from wf.history.limits import MAX_LIST
from wf.history.model import RunFilter

LIVE: Final = tuple(status for status in Status if not status.ended)


@dataclass(frozen=True, slots=True)
class ToToken:
    """`tag` "": to any. `answer`: the data, or a function of the TokenView that makes it."""

    answer: Any
    tag: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class ToMessage:
    name: str
    data: Any
    after_ms: int


@dataclass
class Answers:
    """The first that fits counts."""

    tokens: list[ToToken] = field(default_factory=list[ToToken])
    messages: list[ToMessage] = field(default_factory=list[ToMessage])
    _awaited: dict[tuple[bytes, str], int] = field(default_factory=dict[tuple[bytes, str], int])
    """Since when (ms)."""
    _sent: set[tuple[bytes, str]] = field(default_factory=set[tuple[bytes, str]])

    def due(self, client: Client) -> Iterator[tuple[int, Callable[[], object]]]:
        """When (ms) to do what."""
        if self.tokens:
            for token in waiting_tokens(client):
                found = next((one for one in self.tokens if fits(token, one.tag)), None)
                if found is not None:
                    at = to_ms(token.created_at) + found.after_ms
                    yield at, lambda token=token, found=found: _answer(client, token, found.answer)
        if self.messages:
            yield from self._due_messages(client)

    def _due_messages(self, client: Client) -> Iterator[tuple[int, Callable[[], object]]]:
        store, now = client.store, client.store.now()
        live = store.list_runs(RunFilter(client.environment, status=LIVE, limit=MAX_LIST))
        open_now = {(run.id, name) for run in live for name in store.awaited(run.id).names}
        self._sent &= open_now
        self._awaited = {one: self._awaited.get(one, now) for one in open_now}
        for run_id, name in sorted(open_now - self._sent):
            found = next((one for one in self.messages if one.name == name), None)
            if found is not None:

                def send(run_id: bytes = run_id, found: ToMessage = found) -> None:
                    self._sent.add((run_id, found.name))
                    client.runs.send(show("run", run_id), found.name, found.data)

                yield self._awaited[run_id, name] + found.after_ms, send


def waiting_tokens(client: Client) -> list[TokenView]:
    """Oldest first."""
    found = client.store.list_tokens(client.environment, status="WAITING", limit=MAX_LIST)
    return [token_view(token) for token in reversed(found)]


def awaited_schema(body: Body | None, name: str) -> bytes | None:
    """The JSON Schema of what a body takes for a message; None: it is not known."""
    for future in body.execution.open.values() if body is not None else ():
        call: Any = getattr(future.settle, "__self__", None)
        if isinstance(call, AwaitMessageCall) and call.name == name:
            shape = cast("AwaitMessageCall[Any]", call).shape
            return json.dumps(shape.json_schema()).encode()
    return None


def fits(token: TokenView, tag: str) -> bool:
    return not tag or tag in token.tags


def _answer(client: Client, token: TokenView, answer: Any) -> None:
    client.tokens.complete(token.id, answer(token) if callable(answer) else answer)
