"""Runs that cannot go on by themselves: why, in words that every store can hold."""

from __future__ import annotations

from wf.engine.body import Body
from wf.engine.core.hooks import Hooks
from wf.engine.core.outcome import shortened, text_of
from wf.engine.debugging import is_debugged
from wf.engine.moments import Moments
from wf.engine.records import pages
from wf.engine.registry import Registry
from wf.engine.settings import WorkerSettings
from wf.history.blobs import check_whole
from wf.history.errors import BodyBlocked, CodecError, HistoryUnreadable, NonDeterminism, RunDropped
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import show
from wf.history.model import Activation, Blocked, Claimed, InboxKind, Run
from wf.history.sealing import KEY_LOST, NO_JSON, check_open
from wf.history.turns import Ending


def parked(run: Run, reason: str, detail: str, now: int) -> Activation:
    """What parks a run. `detail` may be anything that an exception said."""
    plain = shortened(detail).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    blocked = Blocked(reason, plain, now, f"wf runs show {show('run', run.id)}")
    return Activation(run.id, run.chapter, blocked=blocked)


def is_canceled(claimed: Claimed) -> bool:
    return any(row.kind == InboxKind.CANCEL for row in claimed.inbox)


def dropped(claimed: Claimed, now: int, hooks: Hooks) -> Activation:
    """The end of a run that somebody canceled and whose body cannot be told so. `was_dropped` knows
    it again: what the body decided after the last fact stands nowhere."""
    run = claimed.run
    told = "it was parked, so its body cleaned up nothing: see to what it left behind"
    failure = Failure("RunCanceled", told, code=RunDropped.code).encode()
    activation = Activation(
        run.id,
        run.chapter,
        consumed=[row.id for row in claimed.inbox],
        ending=Ending(Status.CANCELED, None, failure, now, gathered=True),
    )
    if hooks:
        Moments(run, hooks).end(activation, Status.CANCELED, now)
    return activation


def was_dropped(last: Event) -> bool:
    return last.kind == Kind.ENDED and Failure.decode(last.data).code == RunDropped.code


def why(error: BaseException) -> tuple[str, str, BaseException | None]:
    """`reason` and `detail` for what applying a fact to a body raised, or writing what it decided;
    and that error, where its traceback tells more: a mistake (ours, or of what the body hands to
    us)."""
    if isinstance(error, NonDeterminism):
        return "nondeterminism", str(error), None
    if isinstance(error, BodyBlocked):
        return "blocked", str(error), None
    if isinstance(error, HistoryUnreadable):
        return "unreadable", str(error), None
    if isinstance(error, CodecError):
        return KEY_LOST, str(error), None
    return "error", f"{type(error).__qualname__}: {text_of(error)}", error


def new_body(run: Run, registry: Registry, settings: WorkerSettings) -> Body:
    is_paranoid = settings.paranoid and not is_debugged()
    runnable, hooks = registry.get(run.task), registry.hooks_of(run.task)
    return Body(run, runnable, settings.policies, hooks, paranoid=is_paranoid)


def begin(body: Body, events: list[Event], claimed: Claimed) -> None:
    """Build a body. Raises CodecError, HistoryUnreadable where its history cannot be read here."""
    run = body.run
    _check(run.payload, "the payload")
    _check(run.options, "what the trigger was told")
    for event in events:
        if event.data and event.data[0] == NO_JSON:
            _check(event.data, f"event {event.seq} of the history")
    body.begin(events, claimed.inbox)


def _check(data: bytes | None, what: str) -> None:
    check_open(data, what)
    check_whole(data, what)


def feed(body: Body, claimed: Claimed, now: int) -> None:
    """What came for a run. Raises CodecError, HistoryUnreadable where that cannot be read here."""
    for row in claimed.inbox:
        _check(row.data, "what came for the run")
    for message in claimed.messages:
        _check(message.data, "a message")
    for rows in pages(claimed.inbox):
        body.receive(rows, now)
    body.read(claimed.messages, now)
    body.tick(now)
