"""Notes of steps on their way to the store.

A step writes on a page, its own. Pages are written in one transaction, so many at a time as there
are, when `flush` is called (`flusher` calls it); what is not written when a step ends goes with its
outcome into the commit of its result. So who sees the result sees the notes, and a short step costs
no transaction more. What the store does not take stays on its page; where a database that is away
lets pages fill up, what comes is left out, and said so once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Any, Final

from msgspec import Struct

from wf.engine.clock import Clock
from wf.history.errors import NotFound, StoreUnavailable
from wf.history.ids import show
from wf.history.notes import Note, Notes, operate
from wf.history.store import Store

log = logging.getLogger("wf.worker")

MAX_UNWRITTEN_BYTES: Final = 16 * 1024 * 1024
"""Of all pages of a process: some seconds of many streams, while a database is away."""


_NOTHING: Final = Notes()
"""Of every page that has no note: most never have one."""


class Page(Struct, eq=False):
    """The notes of one attempt of a step that are not written yet: its Pad."""

    _notebook: Notebook
    _run_id: bytes
    unwritten: Notes = _NOTHING
    is_used: bool = False
    is_being_written: bool = False
    writes: int = 0
    """How many have begun or ended."""
    then: Callable[[Sequence[Note]], None] | None = None

    def add(self, note: Note) -> None:
        self.is_used = True
        self._notebook.add(self, note)

    def metadata(self) -> dict[str, Any]:
        """What is stored of the run, and what this page adds to it. Raises StoreUnavailable."""
        while True:
            writes, unwritten = self._notebook.at_rest(self)
            document = json.loads(self._notebook.stored(self._run_id))
            if writes == self.writes:
                break
        for note in unwritten:
            if note.run_id == self._run_id:
                operate(document, note)
        return document

    def close(self, then: Callable[[Sequence[Note]], None]) -> None:
        """The step has ended. `then` gets what is not written, as soon as nothing is being
        written."""
        self._notebook.close(self, then)


class Notebook:
    """The pages of a process. `changed` is called when there is something to write."""

    def __init__(
        self, store: Store, clock: Clock, changed: Callable[[], None] | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed or (lambda: None)
        self._condition = Condition()
        self._dirty: dict[Page, None] = {}
        self._size = 0
        self._is_full = False
        self._is_away = False

    def flush(self) -> bool:
        """Write what there is, in one transaction. False: the database is away, and it waits."""
        with self._condition:
            pages, self._dirty = list(self._dirty), {}
            writing = [self._take(page) for page in pages]
            for page in pages:
                page.is_being_written = True
                page.writes += 1
        notes = [note for part in writing for note in part]
        left: list[Notes] = [Notes() for _ in pages]
        try:
            if notes:
                self._store.note(notes, self._clock.now())
            self._is_away = self._is_full = False
        except StoreUnavailable as error:
            left = writing
            if not self._is_away:
                log.warning("notes of steps wait: %s", error)
            self._is_away = True
        except Exception:
            log.exception("notes of steps are lost; their runs go on")
        finally:
            self._written(pages, left)
        return not self._is_away

    def _written(self, pages: list[Page], left: list[Notes]) -> None:
        with self._condition:
            for page, notes in zip(pages, left, strict=True):
                page.is_being_written = False
                page.writes += 1
                later = self._take(page)
                for note in (*notes, *later):
                    self._put(page, note)
            closed = [(page.then, self._take(page)) for page in pages if page.then is not None]
            for page in pages:
                page.then = None
            self._condition.notify_all()
        for then, notes in closed:
            then(list(notes))

    # -- of a page

    def add(self, page: Page, note: Note) -> None:
        with self._condition:
            if self._size + note.size > MAX_UNWRITTEN_BYTES:
                if not self._is_full:
                    told = (show("run", note.run_id), MAX_UNWRITTEN_BYTES)
                    log.warning("notes of %s are left out: %d bytes wait to be written", *told)
                self._is_full = True
                return
            self._put(page, note)
        self._changed()

    def close(self, page: Page, then: Callable[[Sequence[Note]], None]) -> None:
        with self._condition:
            if page.is_being_written:
                page.then = then
                return
            notes = self._take(page)
        then(list(notes))

    def at_rest(self, page: Page) -> tuple[int, list[Note]]:
        """What is unwritten while nothing is being written, and the number of writes so far."""
        with self._condition:
            self._condition.wait_for(lambda: not page.is_being_written)
            return page.writes, list(page.unwritten)

    def stored(self, run_id: bytes) -> bytes:
        run = self._store.get_runs([run_id]).get(run_id)
        if run is None:
            raise NotFound(f"there is no run {show('run', run_id)}: it was removed")
        return run.metadata

    def _put(self, page: Page, note: Note) -> None:
        if page.unwritten is _NOTHING:
            page.unwritten = Notes()
        self._size -= page.unwritten.size
        page.unwritten.add(note)
        self._size += page.unwritten.size
        self._dirty[page] = None

    def _take(self, page: Page) -> Notes:
        notes, page.unwritten = page.unwritten, _NOTHING
        self._size -= notes.size
        self._dirty.pop(page, None)
        return notes
