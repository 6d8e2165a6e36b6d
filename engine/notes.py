"""What authors call to tell others while a run goes on: `wf.metadata`, `wf.stream`, `wf.tags`.

Plain calls, the same in bodies and in steps. In a body they are decisions: written with the fact
that led to them, once, whatever is replayed. In a step they leave at once (see `notebook`), and a
step that is tried again tells again. They never fail a run for what becomes of them: only for a
value that cannot be told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from math import isfinite
from typing import Any, Final

from wf.engine.author import Pad, step_call
from wf.engine.core.execution import Execution
from wf.engine.core.info import RunInfo
from wf.engine.core.names import check_name
from wf.engine.core.operation import current_execution
from wf.engine.core.triggers import check_tags
from wf.engine.core.values import Shape
from wf.history.errors import Error, PayloadError, PayloadTooLarge
from wf.history.limits import MAX_CHUNK_BYTES, MAX_METADATA_BYTES
from wf.history.notes import Note, NoteKind, encode

Whose = Callable[[RunInfo], bytes | None]
"""Which run a note is about; None: there is none."""


class OtherMetadata:
    """The metadata of another run (`wf.metadata.parent`, `.root`): to be written, not read.

    A run without a parent tells nobody.
    """

    def __init__(self, whose: Whose) -> None:
        self._whose = whose

    def set(self, key: str, value: Any) -> None:
        """Put a value under a key. The last one stays. Raises PayloadError, PayloadTooLarge."""
        self._operate(NoteKind.SET, key, value)

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        self._operate(NoteKind.DELETE, key, None)

    def append(self, key: str, value: Any) -> None:
        """Add to the list under a key. No list there: it begins with what is there."""
        self._operate(NoteKind.APPEND, key, [value])

    def remove(self, key: str, value: Any) -> None:
        """Take all items that equal the value out of the list under a key."""
        self._operate(NoteKind.REMOVE, key, value)

    def increment(self, key: str, by: float = 1) -> None:
        """Add to the number under a key. No number there counts as 0."""
        if isinstance(by, bool) or not isfinite(by):
            raise PayloadError(f"increment of {key!r} by {by!r}: give a finite number")
        self._operate(NoteKind.INCREMENT, key, by)

    def _operate(self, kind: NoteKind, key: str, value: Any) -> None:
        where = f"metadata {check_name(key, 'key')!r}"
        _write("metadata", self._whose, kind, key, _json(where, value, MAX_METADATA_BYTES))


class Metadata(OtherMetadata):
    """`wf.metadata`: a JSON object of the run, that others see while it goes on."""

    parent: Final = OtherMetadata(lambda run: run.parent_id)
    """That of the run that triggered this one."""
    root: Final = OtherMetadata(lambda run: run.root_id or run.id)
    """That of the run with which it all began; this one, where nobody triggered it."""

    def get(self, key: str, default: Any = None) -> Any:
        """What stands under a key, a copy of it; see `current`."""
        return self.current().get(key, default)

    def current(self) -> dict[str, Any]:
        """All of it, a copy. In a body: what the trigger gave and what the body itself wrote, the
        same on every replay. In a step: what is stored, with what this step wrote; a look into the
        database, for which a step's thread or the loop of all async steps waits."""
        _, asker = _asker("metadata")
        return deepcopy(asker.metadata) if isinstance(asker, Execution) else asker.metadata()


class Stream:
    """`wf.stream(name)`: chunks in order, beside the run, for who reads along."""

    def __init__(self, name: str) -> None:
        self.name = check_name(name, "stream")

    def append(self, chunk: Any) -> None:
        """Add a chunk, any JSON value. A step that is tried again adds its chunks again. Raises
        PayloadError, PayloadTooLarge."""
        data = _json(f"a chunk of the stream {self.name!r}", chunk, MAX_CHUNK_BYTES)
        _write("stream", _own, NoteKind.CHUNK, self.name, data)


class Tags:
    """`wf.tags`: those of the run, by which others find it."""

    def add(self, *tags: str) -> None:
        """Add tags, those that are not there yet. Raises DeclarationError."""
        for tag in check_tags(tags):
            _write("tags", _own, NoteKind.TAG, tag)


def _own(run: RunInfo) -> bytes:
    return run.id


def _asker(what: str) -> tuple[RunInfo, Execution | Pad]:
    """The run whose body or step asks, and where that notes something. Raises wf.Error outside
    both."""
    execution = current_execution()
    if execution is not None:
        return execution.run, execution
    call = step_call.get(None)
    if call is None or call.pad is None:
        raise Error(f"wf.{what} is called outside a run: call it in a task body or a step")
    return call.run, call.pad


def _write(what: str, whose: Whose, kind: NoteKind, name: str, data: bytes = b"null") -> None:
    run, asker = _asker(what)
    target = whose(run)
    if target is not None:
        asker.add(Note(target, kind, name, data))


_any: Final = Shape(Any, "a value")


def _json(where: str, value: Any, limit: int) -> bytes:
    """JSON that both ends read alike. Raises PayloadError, PayloadTooLarge."""
    try:
        data = encode(json.loads(_any.encode_plain(value)))
    except PayloadTooLarge:
        raise
    except (PayloadError, ValueError, RecursionError) as error:
        raise PayloadError(
            f"{where}: {error}; give plain values, a dataclass or a pydantic model"
        ) from None
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{where} is {len(data):,} bytes, over the limit of {limit:,}: "
            "store it elsewhere and pass a reference"
        )
    return data


metadata: Final = Metadata(_own)
stream: Final = Stream
tags: Final = Tags()
