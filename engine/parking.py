"""Runs that cannot go on by themselves: why, in words that every store can hold."""

from __future__ import annotations

from collections.abc import Iterable

from wf.engine.body import Body
from wf.engine.core.outcome import shortened, text_of
from wf.history.errors import NonDeterminism
from wf.history.events import Event, Kind
from wf.history.ids import show
from wf.history.store import Activation, Blocked, InboxRow, Run


def parked(run: Run, reason: str, detail: str, now: int) -> Activation:
    """What parks a run. `detail` may be anything that an exception said."""
    plain = shortened(detail).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    blocked = Blocked(reason, plain, now, f"wf runs show {show('run', run.id)}")
    return Activation(run.id, run.chapter, blocked=blocked)


def why(error: BaseException) -> tuple[str, str, BaseException | None]:
    """`reason` and `detail` for what applying a fact to a body raised, or writing what it decided;
    and that error, where it is a mistake (ours, or of what the body hands to us): all but a
    mismatch is."""
    if isinstance(error, NonDeterminism):
        return "nondeterminism", str(error), None
    return "error", f"{type(error).__qualname__}: {text_of(error)}", error


def feed(body: Body, inbox: Iterable[InboxRow], now: int) -> None:
    for row in inbox:
        body.receive(row, now)
    body.tick(now)


def lost_in_a_row(events: list[Event]) -> int:
    count = 0
    for event in reversed(events):
        if event.kind != Kind.TAKEN:
            break
        count += 1
    return count
