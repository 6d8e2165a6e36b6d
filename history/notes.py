"""Notes: what a run says beside its history while it runs. Its metadata, its tags, its streams.

A note is a write for one run: an operation on its metadata (a JSON object), a chunk of a stream, a
tag. A body's notes ride on the commit of the fact that led to them, so they are written once; those
of a step are written while it runs, and again where it is tried again. Operations are total:
whatever stands under a key, they leave something sensible there, so that no note ever fails a run.
What runs were born with, in `runs`, they do not touch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, cast

from msgspec import Struct
from msgspec.structs import replace

from wf.history.ids import show
from wf.history.limits import MAX_METADATA_BYTES, MAX_TAGS
from wf.history.sealing import Sealing, is_sealed, why_sealed

log = logging.getLogger("wf.history")


class NoteKind(IntEnum):
    """`name` is a key of the metadata, but for the last two."""

    SET = 1
    DELETE = 2
    APPEND = 3
    """`data`: a list, whose items are added to the list under that key. What is there and is no
    list becomes its first item."""
    REMOVE = 4
    """All items equal to `data` leave the list under that key."""
    INCREMENT = 5
    """`data`: a number. What is there and is no number counts as 0."""
    CHUNK = 6
    """`name`: of the stream."""
    TAG = 7
    """`name`: the tag."""


class Note(Struct, frozen=True):
    """`run_id`: the run that it is about. `data`: JSON."""

    run_id: bytes
    kind: NoteKind
    name: str
    data: bytes = b"null"
    sealing: Sealing | None = None
    """How the metadata that it changes is stored, where it is sealed."""

    @property
    def size(self) -> int:
        """About the bytes that it holds."""
        return len(self.name) + len(self.data)


class Chunk(NamedTuple):
    """One item of a stream. `seq` counts from 1, without gaps, per run and stream; `at` in ms."""

    seq: int
    at: int
    data: bytes


class Notes:
    """Notes in the order in which they came, without what later ones make void: of values that are
    set under one key the last stays, numbers are added up, lists are joined."""

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self._kept: dict[tuple[bytes, int, str], list[Note]] = {}
        self.size = 0
        for note in notes:
            self.add(note)

    def __iter__(self) -> Iterator[Note]:
        for kept in self._kept.values():
            yield from kept

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, note: Note) -> None:
        kept = self._kept.setdefault(
            (note.run_id, max(note.kind, NoteKind.INCREMENT), note.name), []
        )
        if note.kind in (NoteKind.SET, NoteKind.DELETE, NoteKind.TAG):
            self.size -= sum(one.size for one in kept)
            kept.clear()
        last = kept[-1] if kept else None
        if last is not None and last.kind is note.kind and note.kind in _JOINED:
            self.size -= last.size
            kept.pop()
            note = replace(note, data=_JOINED[note.kind](last.data, note.data))
        kept.append(note)
        self.size += note.size


def _joined(first: bytes, second: bytes) -> bytes:
    """Of two lists, neither of them empty."""
    return first[:-1] + b"," + second[1:]


def _sum(first: bytes, second: bytes) -> bytes:
    return encode(json.loads(first) + json.loads(second))


_JOINED: Final[dict[NoteKind, Callable[[bytes, bytes], bytes]]] = {
    NoteKind.APPEND: _joined,
    NoteKind.INCREMENT: _sum,
}


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        errors="backslashreplace"
    )


def operate(document: dict[str, Any], note: Note) -> None:
    """Do one operation on metadata. Other notes do nothing to it."""
    if note.kind > NoteKind.INCREMENT:
        return
    key, value = note.name, json.loads(note.data)
    match note.kind:
        case NoteKind.SET:
            document[key] = value
        case NoteKind.DELETE:
            document.pop(key, None)
        case NoteKind.APPEND:
            document[key] = _items(document, key) + value
        case NoteKind.REMOVE:
            if isinstance(document.get(key), list):
                document[key] = [item for item in _items(document, key) if item != value]
        case NoteKind.INCREMENT:
            before = document.get(key)
            is_number = isinstance(before, int | float) and not isinstance(before, bool)
            document[key] = value + (before if is_number else 0)
        case _:
            pass


def _items(document: dict[str, Any], key: str) -> list[Any]:
    if key not in document:
        return []
    value = document[key]
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def first_metadata(options: bytes) -> bytes:
    """What a run's trigger gave, from its options."""
    if b'"metadata"' not in options or is_sealed(options):
        return b"{}"
    return encode(json.loads(options).get("metadata", {}))


# --- as rows --------------------------------------------------------------------------------------


class Noted(NamedTuple):
    """What a store has of a run, beside its history. `metadata` None: what the trigger gave.
    `tags`: those that were added, a JSON list."""

    run_id: bytes
    options: bytes
    born_tags: str
    metadata: bytes | None
    tags: str


class OfRun(Struct):
    """The notes for one run."""

    operations: list[Note] = []
    chunks: list[Note] = []
    tags: list[str] = []


def by_run(notes: Iterable[Note]) -> dict[bytes, OfRun]:
    """By run, in the order in which rows are locked."""
    found: dict[bytes, OfRun] = {}
    for note in Notes(notes):
        of_run = found.setdefault(note.run_id, OfRun())
        if note.kind is NoteKind.CHUNK:
            of_run.chunks.append(note)
        elif note.kind is NoteKind.TAG:
            of_run.tags.append(note.name)
        else:
            of_run.operations.append(note)
    return dict(sorted(found.items()))


def rewritten(
    rows: Iterable[Noted], notes: dict[bytes, OfRun]
) -> list[tuple[bytes, bytes | None, str]]:
    """What becomes of these rows: (run, metadata, added tags), where anything changes."""
    changed: list[tuple[bytes, bytes | None, str]] = []
    for row in rows:
        of_run = notes[row.run_id]
        metadata, tags = row.metadata, row.tags
        if of_run.operations:
            metadata = _rewritten(row, of_run.operations)
        if of_run.tags:
            tags = _tagged(row, of_run.tags)
        if (metadata, tags) != (row.metadata, row.tags):
            changed.append((row.run_id, metadata, tags))
    return changed


def tagged(
    changed: Iterable[tuple[bytes, bytes | None, str]], notes: dict[bytes, OfRun]
) -> list[tuple[bytes, bytes]]:
    """(run, tag in UTF-8) of those rows that tags were added to: what `tags` has of them."""
    return [
        (run_id, tag.encode())
        for run_id, _, tags in changed
        if notes[run_id].tags
        for tag in json.loads(tags)
    ]


def _rewritten(row: Noted, operations: Sequence[Note]) -> bytes | None:
    """Operations on what cannot be opened are left out, for they must not fail the run."""
    sealing = operations[0].sealing
    before = row.metadata if row.metadata is not None else row.options
    if sealing is not None:
        before = sealing.open(before)
    if is_sealed(before):
        told = (show("run", row.run_id), why_sealed(before), operations[0].name)
        log.warning("metadata of %s %s: %r is left out", *told)
        return row.metadata
    if row.metadata is None:
        before = first_metadata(before)
    after = _operated(row.run_id, before, operations)
    return after if sealing is None else sealing.seal(after)


def _operated(run_id: bytes, before: bytes, operations: Sequence[Note]) -> bytes:
    """An operation that would make it too large is left out, for it must not fail the run."""
    document = json.loads(before)
    for note in operations:
        operate(document, note)
    after = encode(document)
    if len(after) <= MAX_METADATA_BYTES:
        return after
    for note in operations:
        document = json.loads(before)
        operate(document, note)
        after = encode(document)
        if len(after) <= max(MAX_METADATA_BYTES, len(before)):
            before = after
        else:
            log.warning(
                "metadata of %s would be over %d bytes with %r: left out; stream what grows",
                show("run", run_id),
                MAX_METADATA_BYTES,
                note.name,
            )
    return before


def _tagged(row: Noted, added: Iterable[str]) -> str:
    born: list[str] = json.loads(row.born_tags)
    tags: list[str] = json.loads(row.tags)
    wanted = [tag for tag in added if tag not in born and tag not in tags]
    room = max(0, MAX_TAGS - len(born) - len(tags))
    if len(wanted) > room:
        told = (show("run", row.run_id), MAX_TAGS, wanted[room:])
        log.warning("%s has %d tags: %r are left out", *told)
    return json.dumps([*tags, *wanted[:room]], ensure_ascii=False)
