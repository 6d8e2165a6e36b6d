"""The ambient client: what `await task.trigger(x)` uses outside any body."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from wf.client.client import Client
from wf.history import connections
from wf.history.connections import Connection
from wf.history.sealing import Codec

_of_engines: Final[WeakKeyDictionary[Connection, Client]] = WeakKeyDictionary()
_of_urls: Final[dict[str, Client]] = {}


def client() -> Client:
    """The client of the innermost connection; else of WF_URL. Raises NotConnected."""
    innermost = connections.innermost()
    if isinstance(innermost, Client):
        return innermost
    if innermost is not None:
        if innermost not in _of_engines:
            _of_engines[innermost] = Client(
                store=innermost.store, environment=innermost.environment
            )
        return _of_engines[innermost]
    url = connections.url()
    if url not in _of_urls:
        _of_urls[url] = Client(url)
    return _of_urls[url]


def connect(url: str, *, environment: str | None = None, codec: Codec | None = None) -> Client:
    """Make that store the ambient one of this process. codec: default the project's."""
    made = Client(url, environment=environment, codec=codec)
    connections.push_process_wide(made)
    return made
