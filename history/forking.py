"""A fork: a run that shares the history of another one up to a fact, and goes on by itself.

The rows before that fact are copied, with two exceptions. Operations that were still open then are
left out, so that the fork asks for them anew: nobody would tell it how the other run's ended. What
had been sent is sent. Then follows FORKED, and the fact itself, told anew and now: so what the body
decides on it (times, ids, children) is the fork's own.

Pure: which rows a fork begins with follows from the rows that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from wf.history.blobs import Blobs
from wf.history.errors import CannotFork, NotFound
from wf.history.events import FACTS, Awaits, Event, Kind, Status
from wf.history.ids import show
from wf.history.messages import Sent
from wf.history.model import NewRun, Run

FORKABLE: Final = FACTS - {Kind.STARTED, Kind.FORKED}
"""The facts at which a fork may begin. (At STARTED nothing is shared: that is a replay.)"""
_AWAITING: Final = frozenset(
    {Kind.STEP_STARTED, Kind.CHILD_AWAITED, Kind.TOKEN_AWAITED, Kind.MESSAGE_AWAITED}
    | {Kind.BATCH_AWAITED}
)
_TRIGGERS: Final = frozenset({Kind.CHILD_TRIGGERED, Kind.BATCH_TRIGGERED})
_STARTS: Final = frozenset({Kind.CHILD_STARTED, Kind.BATCH_STARTED})
_ENDS: Final = frozenset(
    {Kind.STEP_FINISHED, Kind.STEP_FAILED, Kind.CHILD_ENDED, Kind.TOKEN_ENDED, Kind.BATCH_ENDED}
    | {Kind.MESSAGE_RECEIVED, Kind.MESSAGE_TIMED_OUT}
)
_REFERENCES: Final = frozenset({*_STARTS - {Kind.BATCH_STARTED}, Kind.CHILD_TRIGGERED})
"""Rows whose data is the id of a run below the other one."""
SHOWN_FACTS: Final = 12
"""Numbers in a message."""


class ForkStore(Protocol):
    """The part of a Store that makes forks."""

    def fork(self, run: NewRun, events: Sequence[Event]) -> None:
        """Make a run that has these events already, and is ready to go on. Its origin, and what its
        events refer to, stay as long as it lives. Raises NotFound where the origin is not there any
        more."""
        ...


def shared(
    origin: Run, events: Sequence[Event], at: int, now: int, results: Mapping[str, bytes]
) -> list[Event]:
    """The history with which a fork begins. `events`: the origin's chapter; `at`: the seq of a
    fact; `results`: by the name of a step, task or message, by `token`, or by `#` and the number of
    an operation: what it is to have come to instead, the last time in the shared part.

    Raises CannotFork.
    """
    fact = _fact(events, at)
    rows = [*(event for event in events if event.seq < at), fact]
    rows = _with_results(rows, results)
    forgotten = _open(rows)
    *before, fact = rows
    now = max(now, fact.at)
    kept = [event for event in before if event.ordinal not in forgotten]
    kept += _sent(kept, fact)
    stood = before[-1].at if fact.kind == Kind.ATTEMPT_STARTED else fact.at
    made = str(origin.created_at)
    kept.append(Event(0, Kind.FORKED, 0, now, made, now - stood, data=origin.id))
    if fact.ordinal not in forgotten:
        kept[-1] = kept[-1].but(attempt=1)
        kept.append(fact.but(at=now))
    kept[0] = kept[0].but(took=at)
    return [event.but(seq=seq) for seq, event in enumerate(kept, 1)]


def end_of(events: Sequence[Event], results: Iterable[str]) -> int:
    """The fact at which a fork begins that is to have these results. Raises CannotFork."""
    names, found = _names(events), [0]
    for wanted in results:
        ends = [one.seq for one in events if one.kind in _SETTABLE and _is(one, wanted, names)]
        if not ends:
            raise _unknown(wanted, events, names)
        found.append(ends[-1])
    if found == [0]:
        raise CannotFork("a fork begins at a fact: give its number, as `wf replay RUN` shows them")
    return max(found)


def referred(run: NewRun, events: Iterable[Event]) -> set[bytes]:
    """The runs that have to stay as long as the fork lives: its origin, and children of that."""
    found = {event.data for event in events if event.kind in _REFERENCES and event.data}
    return found | ({run.origin_id} if run.origin_id is not None else set())


def event_rows(run: NewRun, events: Iterable[Event], blobs: Blobs) -> list[tuple[Any, ...]]:
    """Rows of `events`, in the order of the stores' statements. Large values are left in
    `blobs`."""
    return [
        (run.id, 1, one.seq, int(one.kind), one.ordinal, one.at, one.name, one.digest, one.attempt,
         one.took, blobs.put(run.id, one.data))
        for one in events
    ]  # fmt: skip


def origin_gone(run: NewRun) -> NotFound:
    """What a fork is told whose origin has been pruned meanwhile."""
    shown = show("run", run.origin_id or b"")
    return NotFound(f"there is no run {shown} any more: `wf runs list` shows those that are there")


def _fact(events: Sequence[Event], at: int) -> Event:
    numbers = [event.seq for event in events if event.kind in FORKABLE]
    for event in events:
        if event.seq == at and event.kind in FORKABLE:
            return event
    near = sorted(sorted(numbers, key=lambda seq: abs(seq - at))[:SHOWN_FACTS])
    there = ", ".join(map(str, near)) or "none"
    raise CannotFork(
        f"{at} is no fact at which a fork can begin: give the number of one ({there}), as "
        "`wf replay RUN` shows them"
    )


def _open(rows: Sequence[Event]) -> set[int]:
    """The operations that wait for something that these rows do not tell."""
    waiting: set[int] = set()
    for event in rows:
        if event.kind in _AWAITING or (event.kind in _TRIGGERS and event.attempt):
            waiting.add(event.ordinal)
        elif event.kind in _ENDS and not _is_page(event):
            waiting.discard(event.ordinal)
    starts = {event.ordinal for event in rows if event.kind in _STARTS}
    keyed = {one.ordinal for one in rows if one.kind in _TRIGGERS and one.attempt == Awaits.START}
    return waiting - (keyed & starts)


def _is_page(event: Event) -> bool:
    """Of the ends of a batch, with others to follow."""
    is_last = not event.attempt or event.name == Status.FAILED
    return event.kind == Kind.BATCH_ENDED and not is_last


def _sent(rows: Sequence[Event], fact: Event) -> list[Event]:
    """What the other run had sent is sent, whether it had been told so or not. `fact`: the one that
    follows."""
    told = {event.ordinal for event in [*rows, fact] if event.kind == Kind.SEND_SETTLED}
    return [
        Event(0, Kind.SEND_SETTLED, event.ordinal, rows[-1].at, Sent.SENT.name)
        for event in rows
        if event.kind == Kind.MESSAGE_SENT and event.ordinal not in told
    ]


# --- other results --------------------------------------------------------------------------------

_SETTABLE: Final = _ENDS - {Kind.BATCH_ENDED}


def _with_results(rows: list[Event], results: Mapping[str, bytes]) -> list[Event]:
    names = _names(rows)
    changed = list(rows)
    for wanted, data in results.items():
        places = [
            place
            for place, event in enumerate(rows)
            if event.kind in _SETTABLE and _is(event, wanted, names)
        ]
        if not places:
            raise _unknown(wanted, rows, names)
        event = rows[places[-1]]
        changed[places[-1]] = _ended_well(event, names[event.ordinal], data)
    return changed


def _is(event: Event, wanted: str, names: Mapping[int, str]) -> bool:
    return wanted in (names[event.ordinal], f"#{event.ordinal}")


def _unknown(wanted: str, rows: Iterable[Event], names: Mapping[int, str]) -> CannotFork:
    there = sorted({names[one.ordinal] for one in rows if one.kind in _SETTABLE} - {""})
    return CannotFork(
        f"nothing called {wanted!r} has ended by then (there are: {', '.join(there) or 'none'}): "
        "begin the fork at the fact that ends it"
    )


def _names(rows: Iterable[Event]) -> dict[int, str]:
    """By operation: what a person calls it; "": nothing."""
    names: dict[int, str] = {}
    tasks: dict[bytes, str] = {}
    for event in rows:
        if event.kind == Kind.CHILD_TRIGGERED and event.data:
            tasks[event.data] = event.name
        name = event.name
        if event.kind == Kind.TOKEN_AWAITED:
            name = "token"
        elif event.kind == Kind.CHILD_AWAITED and event.data:
            name = tasks.get(event.data, "")
        names.setdefault(event.ordinal, name)
    return names


def _ended_well(event: Event, name: str, data: bytes) -> Event:
    match event.kind:
        case Kind.STEP_FAILED:
            return event.but(kind=Kind.STEP_FINISHED, data=data)
        case Kind.CHILD_ENDED | Kind.TOKEN_ENDED:
            return event.but(name=Status.COMPLETED.value, data=data)
        case Kind.MESSAGE_TIMED_OUT:
            return event.but(kind=Kind.MESSAGE_RECEIVED, name=name, digest=0, data=data)
        case _:
            return event.but(data=data)
