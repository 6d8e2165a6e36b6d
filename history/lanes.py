"""Which waiting runs get the free slots of a queue. No I/O: a store lends its `Waiting`.

What it answers is exact where the caller has the queue's lock, and has counted after he got it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from wf.history.limits import CANCEL_PRIORITY
from wf.history.model import Lease, Reason
from wf.history.queues import Limits

FAIR_TURNS: Final = 1_000
"""A key that was not served within so many turns counts as served so many turns ago. So it comes
next where fewer keys wait, those that wait for longer cannot be held up by new keys for ever, and a
queue remembers so many keys at most."""
STIRS: Final = 1_000
"""Stirs that one claim takes."""
PAGE_LANES: Final = 16
"""Lanes that are looked at in one go beside those that may be served: some turn out to be full."""
PAGE_HEADS: Final = 8
"""Runs of one lane that are read ahead: most lanes give out one."""

BACK, NEW = 0, 1


def shared(limit: int, lease: Lease) -> int:
    """How many of a claim's runs may be of no queue, where some of queues wait as well: half of
    them, so that neither are kept waiting."""
    return (limit + lease.group_no % 2) // 2


def rank_of(reason: int) -> int:
    return NEW if reason == Reason.NEW else BACK


class Head(NamedTuple):
    """A run that waits, in the order within a lane."""

    rank: int
    """BACK from a wait, or NEW."""
    sunk: int
    """Its priority, negative."""
    at: int
    run_id: bytes

    @property
    def is_canceled(self) -> bool:
        """It has begun, and is to end: it goes first, and where the queue is paused, too."""
        return self.sunk == -CANCEL_PRIORITY


class Window(Struct):
    """First starts that still count: `oldest` is the earliest of the latest `limit`."""

    limit: int
    per_ms: int
    count: int = 0
    oldest: int | None = None

    @property
    def is_full(self) -> bool:
        return self.count >= self.limit

    def start(self, now: int) -> None:
        self.count += 1
        if self.oldest is None:
            self.oldest = now

    def opens_at(self, now: int) -> int:
        return (now if self.oldest is None else self.oldest) + self.per_ms


class Lane(Struct):
    """A page's row, with what is read ahead of it and the slots that its key holds."""

    task: str
    key: str
    served: int
    heads: Sequence[Head]
    held: int = 0
    window: Window | None = None
    """Of its key."""
    asked: int = PAGE_HEADS
    """How many heads were asked for: fewer are all that there are."""


class QueueNow(Struct):
    """A queue that is locked, and what was counted since."""

    environment: str
    name: str
    limits: Limits
    paused: bool
    turn: int
    held: int = 0
    """Counted where there is a limit."""
    window: Window | None = None


class Waiting(Protocol):
    """What waits in a queue for tasks of a worker."""

    def lanes(self, skip: int, count: int) -> list[Lane]:
        """The open lanes, best first. Fewer than `count` are the last."""
        ...

    def heads(self, lane: Lane, skip: int, count: int) -> list[Head]: ...


class Chosen(Struct):
    """A run that gets a slot."""

    task: str
    key: str
    head: Head


class Allotment(Struct):
    chosen: list[Chosen] = []
    served: dict[str, int] = {}
    """The turns of the keys that were served."""
    turn: int = 0
    full: set[str] = set()
    """Keys whose lanes are closed."""
    empty: set[str] = set()
    """Keys of lanes in which nothing was found."""
    opens: dict[str, int] = {}
    """When a rate lets the next run start: of a key, or of the queue ("")."""
    left: Chosen | None = None
    """What would start, had the claim not reached its limit."""
    has_room: bool = False
    """The queue could take more."""


class _Open(Struct):
    """A lane of which runs are being chosen."""

    lane: Lane
    heads: deque[Head]
    seen: int


def room_of(queue: QueueNow, limit: int) -> int:
    """Slots that it may give out, as far as its own limit goes."""
    most = queue.limits.concurrency_limit
    return limit if most is None else max(0, min(limit, most - queue.held))


_Place: TypeAlias = tuple[int, int, int, int, str, str]


def allot(queue: QueueNow, waiting: Waiting, limit: int, now: int) -> Allotment:
    """Give slots to the best runs, `limit` at most."""
    return _Allotting(queue, waiting, limit, now).done()


class _Allotting:
    def __init__(self, queue: QueueNow, waiting: Waiting, limit: int, now: int) -> None:
        self.queue = queue
        self.waiting = waiting
        self.limit = limit
        self.now = now
        self.answer = Allotment(turn=queue.turn)
        self.lanes: dict[tuple[str, str], _Open] = {}
        self.places: list[_Place] = []
        self.held: dict[str, int] = {}
        self.windows: dict[str, Window] = {}
        self.served: dict[str, int] = {}
        self.looked = 0
        self.has_more = True
        self.bound: _Place | None = None
        """Lanes that were not looked at come after this."""

    def done(self) -> Allotment:
        while self._has_room() and (lane := self._best()) is not None:
            if not self._try(lane):
                break
        self.answer.has_room = self._has_room()
        return self.answer

    def _has_room(self) -> bool:
        most = self.queue.limits.concurrency_limit
        return most is None or self.queue.held + len(self.answer.chosen) < most

    def _try(self, one: _Open) -> bool:
        """Give a slot to the lane's head, if its key may have one. False: there are no more."""
        lane, head, window = one.lane, one.heads[0], self.queue.window
        of_key = self.windows.get(lane.key)
        if self.queue.paused and not head.is_canceled:
            return False
        if lane.key and self.held[lane.key] >= self.queue.limits.per_key_limit:
            self.answer.full.add(lane.key)
        elif head.rank == NEW and window is not None and window.is_full:
            self.answer.opens[""] = window.opens_at(self.now)
            return False
        elif head.rank == NEW and of_key is not None and of_key.is_full:
            self.answer.full.add(lane.key)
            self.answer.opens[lane.key] = of_key.opens_at(self.now)
        elif len(self.answer.chosen) >= self.limit:
            self.answer.left = Chosen(lane.task, lane.key, head)
            return False
        else:
            self._choose(one, [each for each in (window, of_key) if each is not None])
        return True

    def _choose(self, one: _Open, windows: Sequence[Window]) -> None:
        lane, head = one.lane, one.heads.popleft()
        self.answer.chosen.append(Chosen(lane.task, lane.key, head))
        self.answer.turn += 1
        self.answer.served[lane.key] = self.served[lane.key] = self.answer.turn
        self.held[lane.key] += 1
        if head.rank == NEW:
            for window in windows:
                window.start(self.now)
        if not one.heads and one.seen == lane.asked:
            more = self.waiting.heads(lane, one.seen, 4 * one.seen)
            one.heads.extend(more)
            lane.asked = 5 * one.seen
            one.seen += len(more)
        self._put(one)

    # -- lanes in order

    def _best(self) -> _Open | None:
        while True:
            while self.has_more and (
                not self.places or self.bound is None or self.places[0] > self.bound
            ):
                self._page()
            if not self.places:
                return None
            place = heappop(self.places)
            one = self.lanes[place[-1], place[-2]]
            if place == self._place(one):
                return one
            heappush(self.places, self._place(one))

    def _page(self) -> None:
        """Look at more lanes."""
        count = PAGE_LANES + room_of(self.queue, self.limit)
        page = self.waiting.lanes(self.looked, count)
        self.looked += len(page)
        self.has_more = len(page) >= count
        for lane in page:
            if (lane.task, lane.key) in self.lanes:
                continue
            self.held.setdefault(lane.key, lane.held)
            self.served.setdefault(lane.key, lane.served)
            if lane.key and lane.window is not None:
                self.windows.setdefault(lane.key, lane.window)
            one = _Open(lane, deque(lane.heads), len(lane.heads))
            self.lanes[lane.task, lane.key] = one
            if one.heads:
                self.bound = self._place(one)
            else:
                self.answer.empty.add(lane.key)
            self._put(one)

    def _put(self, one: _Open) -> None:
        if one.heads:
            heappush(self.places, self._place(one))

    def _place(self, one: _Open) -> _Place:
        head, lane = one.heads[0], one.lane
        return (head.rank, head.sunk, self.served[lane.key], head.at, lane.key, lane.task)
