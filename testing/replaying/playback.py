"""A run played back: its recorded facts delivered to its body, one by one, forwards and backwards.

Nothing is written, no step runs. A fact cannot be taken back from a body; but the body is a pure
function of the facts, so going back is playing it anew up to the earlier fact.
"""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from wf.client.views import EventView, event_view, plain_json
from wf.engine.chapters import run_info
from wf.engine.core.execution import Execution
from wf.engine.core.index import History
from wf.engine.core.mismatch import VERBS, Issued
from wf.engine.core.replay import replay
from wf.engine.core.runnable import Runnable
from wf.engine.registry import Registry
from wf.engine.silence import silent
from wf.history.errors import NonDeterminism, NotFound, UnknownTask
from wf.history.events import FACTS, Event, Kind
from wf.history.ids import show
from wf.history.model import Run
from wf.history.store import Store
from wf.testing.replaying.frames import frames_of
from wf.testing.story import sentence

NEAR: Final = 8
"""Facts that a message names lie so near to the one that is not there."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of the history. `seq`: its number, as `wf fork --at` takes it; `what`: in words;
    `where`: file and line of the call that asked for it, "" where the body did not; `source`: that
    line; `asks`: what the body asked for when it was told."""

    seq: int
    event: EventView
    what: str
    where: str = ""
    source: str = ""
    asks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        about = {"seq": self.seq, "kind": self.event.kind, "at": plain_json(self.event.at)}
        told = {"what": self.what, "data": plain_json(self.event.data)}
        return {**about, **told, "where": self.where, "source": self.source, "asks": [*self.asks]}


class Playback:
    """A run and the code that is here. `facts`: all of its chapter. `misfit`: where that code no
    longer fits the history (then `facts` have their places as far as it does)."""

    def __init__(self, run: Run, runnable: Runnable[..., Any], events: Sequence[Event]) -> None:
        self.run = show("run", run.id)
        self.task = run.task
        self.misfit: NonDeterminism | None = None
        self.at = 0
        """The number of the fact that the body was told last; 0: none."""
        self._runnable = runnable
        self._info = run_info(run, events[0])
        self._events = list(events)
        self._execution: Execution | None = None
        self._asks: dict[int, tuple[str, ...]] = {}
        self._places: dict[int, str] = {}
        try:
            self._play(self._events[-1].seq)
            with silent():
                self._live.check_rebuilt()
        except NonDeterminism as error:
            self.misfit = _explained(error, runnable, self._info, self._events)
        self.facts = self._facts(run.chapter)
        self.close()

    # -- moving

    def go(self, seq: int) -> Fact:
        """To this fact, forwards or backwards: the body has been told it, and nothing after it.
        Raises NotFound, NonDeterminism where the code does not fit before it."""
        fact = self._find(seq)
        if self._execution is None or seq < self.at:
            self.close()
        self._play(seq)
        return fact

    def next(self) -> Fact | None:
        """To the fact that follows; None: there is none."""
        following = [fact.seq for fact in self.facts if fact.seq > self.at]
        return self.go(following[0]) if following else None

    def back(self) -> Fact | None:
        """To the fact before; None: there is none."""
        before = [fact.seq for fact in self.facts if fact.seq < self.at]
        return self.go(before[-1]) if before else None

    def frames(self) -> list[list[FrameType]]:
        """Where the body stands: of each of its asyncio tasks the frames of the user's code, the
        outermost first. They live until the playback moves."""
        return frames_of(self._live) if self._execution is not None else []

    def locals(self) -> dict[str, Any]:
        """The variables of the innermost frame of the body itself; of one that has ended, none."""
        frames = self.frames()
        return dict(frames[0][-1].f_locals) if frames else {}

    def close(self) -> None:
        """Let the body go."""
        execution, self._execution, self.at = self._execution, None, 0
        if execution is not None:
            with silent():
                execution.close()

    # -- inside

    @property
    def _live(self) -> Execution:
        assert self._execution is not None
        return self._execution

    def _play(self, until: int) -> None:
        if self._execution is None:
            history = History(self._events, self._info.chapter)
            self._execution = Execution(self._runnable, self._info, history)
            self._execution.issued = []
        trace = self._live.issued
        assert trace is not None
        with silent():
            for event in self._events:
                if event.kind not in FACTS or not self.at < event.seq <= until:
                    continue
                count = len(trace)
                try:
                    self._live.apply(event)
                finally:
                    self.at = event.seq
                    self._places.update({one.ordinal: one.where for one in trace[count:]})
                    self._asks[event.seq] = tuple(map(_asked, trace[count:]))

    def _find(self, seq: int) -> Fact:
        for fact in self.facts:
            if fact.seq == seq:
                return fact
        near = ", ".join(str(fact.seq) for fact in self.facts if abs(fact.seq - seq) <= NEAR)
        raise NotFound(f"{self.run} has no fact {seq} (near it: {near or 'none'})")

    def _facts(self, chapter: int) -> list[Fact]:
        names: dict[int, str] = {}
        found: list[Fact] = []
        for event in self._events:
            if event.name and event.kind in VERBS:
                names.setdefault(event.ordinal, event.name)
            if event.kind not in FACTS:
                continue
            view = event_view(chapter, event)
            told = sentence(view, names.get(event.ordinal, ""))
            where = self._places.get(event.ordinal, "") if event.ordinal else ""
            found.append(
                Fact(
                    event.seq,
                    view,
                    told or Kind(event.kind).name.lower().replace("_", " "),
                    _here(where),
                    _line(where),
                    self._asks.get(event.seq, ()),
                )
            )
        return found


def _explained(
    error: NonDeterminism, runnable: Runnable[..., Any], info: Any, events: list[Event]
) -> NonDeterminism:
    """With the aligned diff, as a worker tells it."""
    try:
        with silent():
            replay(runnable, info, events)[0].close()
    except NonDeterminism as told:
        return told
    return error


def _asked(one: Issued) -> str:
    return f"{one.verb} {one.name}".rstrip()


def _here(where: str) -> str:
    """Relative to where the command runs, where it is below."""
    file, _, line = where.rpartition(":")
    path = Path(file)
    inside = file and path.is_relative_to(Path.cwd())
    return f"{path.relative_to(Path.cwd())}:{line}" if inside else where


def _line(where: str) -> str:
    file, _, line = where.rpartition(":")
    return linecache.getline(file, int(line)).strip() if line.isdigit() else ""


def play(store: Store, run: Run, registry: Registry) -> Playback:
    """Raises UnknownTask, NotFound where it has no history yet."""
    if run.task not in registry:
        known = ", ".join(sorted(registry.ids)) or "none"
        raise UnknownTask(f"no task {run.task!r} here (there are {known}): name its file, --code")
    events = [event for _, event in store.history(run.id, run.chapter)]
    if not events or events[0].kind != Kind.STARTED:
        raise NotFound(f"{show('run', run.id)} has not begun: there is nothing to play")
    return Playback(run, registry.get(run.task), events)
