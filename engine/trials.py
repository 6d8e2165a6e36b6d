"""Runs whose workers were lost again and again: is one of them the reason?

Whoever loses a worker has n TAKEN at the end of its history, where n is how often that happened in
a row, without any progress between; so has a killer, and so have its neighbours. From the second
time on a run waits before it is tried again. From the third on it is a *suspect*, and a worker
tries one suspect at a time: the others are given back before it begins, so that they are not lost
with it. A trial is over when the run has made progress, or has nothing to do now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from wf.engine.room import Histories
from wf.engine.settings import MAX_TAKEOVERS, SUSPECT
from wf.history.events import Event, Kind
from wf.history.model import Activation, Claimed, Reason


class Trials:
    """Of one worker. `back_offs_ms`: after the second loss in a row, after the third, …"""

    def __init__(self, back_offs_ms: Sequence[int]) -> None:
        self._back_offs_ms = back_offs_ms
        self._suspect = b""

    def wait_until(self, claimed: Claimed, history: Sequence[Event], now: int) -> int:
        """The run has to wait so long; 0: it may be taken up, a suspect on trial."""
        lost = lost_in_a_row(history)
        if lost < 2 or is_poisoned(claimed, history):
            return 0
        run_id = claimed.run.id
        back_off_ms = self._back_offs_ms[min(lost - 2, len(self._back_offs_ms) - 1)]
        if lost < MAX_TAKEOVERS and now < history[-1].at + back_off_ms:
            return history[-1].at + back_off_ms
        if lost < SUSPECT:
            return 0
        if self._suspect not in {b"", run_id}:
            return now + back_off_ms
        self._suspect = run_id
        return 0

    def put_off(
        self, claimed: Sequence[Claimed], histories: Histories, crowded: set[bytes], now: int
    ) -> list[Activation]:
        """Gives back those that have to wait, before anything is begun: a suspect on trial may take
        this process with it, and them. Those that have no room here go back for others."""
        back: list[Activation] = []
        for one in claimed:
            run, history = one.run, histories.get(one.run.id)
            until = self.wait_until(one, history, now) if history else 0
            until = now if run.id in crowded else until
            if until:
                back.append(
                    Activation(run.id, run.chapter, release=True, due_at=until, is_put_off=True)
                )
        return back

    def end(self, run_id: bytes) -> None:
        if self._suspect == run_id:
            self._suspect = b""

    def clear(self) -> None:
        self._suspect = b""


def lost_in_a_row(history: Sequence[Event]) -> int:
    count = 0
    for event in reversed(history):
        if event.kind != Kind.TAKEN:
            break
        count += 1
    return count


def is_poisoned(claimed: Claimed, history: Sequence[Event]) -> bool:
    """It is not tried any more. One that is marked again although it was parked (other code has
    come, say) has another try: then nothing was lost just now."""
    return claimed.reason is Reason.TAKEN and lost_in_a_row(history) >= MAX_TAKEOVERS


def what_is_known(history: Sequence[Event]) -> str:
    """Of a poisoned run."""
    lost = lost_in_a_row(history)
    first, last, before = history[-lost], history[-1], history[-lost - 1]
    place = f" {before.ordinal}" if before.ordinal else ""
    name = f" ({before.name})" if before.name else ""
    return (
        f"its worker was lost {lost} times in a row without any progress, first at "
        f"{_utc(first.at)}, last at {_utc(last.at)}; before that its history ends with event "
        f"{before.seq}, {_name(before.kind)}{place}{name}, at {_utc(before.at)}. Look for what "
        "follows there and ends the process (a crash, memory, code that does not come back); "
        "start a worker whose code has it mended"
    )


def _name(kind: int) -> str:
    return Kind(kind).name if kind in set(Kind) else f"kind {kind}"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(" ", timespec="seconds")
