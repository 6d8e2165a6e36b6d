"""What runs should have noted, by their histories; and where a store has something else.

Each history is played again, fact by fact, to a body that is not replaying: what it notes is what
must have been written, once. Steps say what they want as often as they are tried, so what they say
is left out: metadata and streams whose names begin with "step".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from msgspec.structs import replace

from wf.engine.body import run_info
from wf.engine.core.decisions import Decision, WriteNote
from wf.engine.core.index import History, given
from wf.engine.core.replay import replay
from wf.engine.registry import Registry
from wf.engine.silence import silent
from wf.history.events import FACTS, Event, Kind
from wf.history.ids import show
from wf.history.model import Run
from wf.history.notes import Note, NoteKind, first_metadata, operate
from wf.history.store import Store

OF_STEPS: Final = "step"


def note_breaches(store: Store, runs: dict[bytes, Run], registry: Registry) -> list[str]:
    """In sentences. `runs`: all of the store. What several runs write to one key must not depend on
    their order."""
    expected: defaultdict[bytes, list[Note]] = defaultdict(list)
    for run in runs.values():
        if run.task in registry:
            for note in _of_run(run, [*store.history(run.id)], registry):
                expected[note.run_id].append(note)
    return [line for run in runs.values() for line in _compare(store, run, expected[run.id])]


def _of_run(run: Run, history: list[tuple[int, Event]], registry: Registry) -> Iterator[Note]:
    ended_at, attempt = -1, 1
    for chapter, rows in groupby(history, key=lambda row: row[0]):
        events = [event for _, event in rows]
        kept = [event for event in events if event.at <= ended_at]
        if chapter == 1:
            kept = events[: given(events)]
        if History(events).has_begun:
            info = replace(run_info(run, events[0]), chapter=chapter, attempt=attempt)
            with silent():
                decided = _decided(run, info, registry, kept, events[len(kept) :])
            yield from (one.note for one in decided if isinstance(one, WriteNote))
        is_retry = events[-1].kind == Kind.ATTEMPT_FAILED
        ended_at, attempt = (events[-1].at, attempt + 1) if is_retry else (-1, 1)


def _decided(
    run: Run, info: Any, registry: Registry, kept: list[Event], rest: list[Event]
) -> list[Decision]:
    execution, pending = replay(registry.get(run.task), info, kept)
    decided = pending if info.chapter == 1 else []
    try:
        for event in rest:
            if event.kind in FACTS:
                decided += execution.apply(event)
    finally:
        execution.close()
    return decided


def _compare(store: Store, run: Run, notes: list[Note]) -> Iterator[str]:
    named = f"{run.task} {show('run', run.id)}"
    metadata: dict[str, Any] = json.loads(first_metadata(run.options))
    chunks: defaultdict[str, list[Any]] = defaultdict(list)
    for note in notes:
        operate(metadata, note)
        if note.kind is NoteKind.CHUNK:
            chunks[note.name].append(json.loads(note.data))
    stored = {
        key: value
        for key, value in json.loads(run.metadata).items()
        if not key.startswith(OF_STEPS)
    }
    if stored != metadata:
        yield f"{named}: its metadata is {stored}, by the histories {metadata}"
    for name, told in chunks.items():
        read = [json.loads(chunk.data) for chunk in store.read_stream(run.id, name)]
        if read != told:
            yield f"{named}: its stream {name!r} is {read}, by its history {told}"
    tags = {note.name for note in notes if note.kind is NoteKind.TAG}
    if not tags <= {*run.tags, *run.added_tags}:
        yield f"{named}: its tags are {[*run.tags, *run.added_tags]}, by its history also {tags}"
