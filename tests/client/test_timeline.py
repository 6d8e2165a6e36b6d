"""A run over time, from histories written by hand: what rows say, and what follows from them."""

from __future__ import annotations

from typing import Any

from wf.client.timeline.build import timeline
from wf.client.timeline.model import Lane, Outcome, Span, SpanKind, Tally, Timeline
from wf.client.timeline.story import Record
from wf.client.timeline.words import TIMES
from wf.history.events import Awaits, Event, Failure, Kind, Status
from wf.history.families import Members
from wf.history.ids import derived_id, member_ids, show
from wf.history.model import Blocked, Run

BEGIN = 1_700_000_000_000
DAY = 86_400_000
ROOT = derived_id(BEGIN, b"root".ljust(16), 1, 1)
CHILD = derived_id(BEGIN, b"root".ljust(16), 1, 2)
NO_MAIL = Failure("ConnectionError", "no\nmail \x1b[31mserver").encode()


def a_run(status: Status, ended: int | None = None, **fields: Any) -> Run:
    run = Run(ROOT, "dev", "desk", b"null", BEGIN, started_at=BEGIN, status=status)
    run.ended_at = BEGIN + ended if ended is not None else None
    for name, value in fields.items():
        setattr(run, name, value)
    return run


def rows(*events: Event, chapter: int = 1) -> list[tuple[int, Event]]:
    """Numbered as they stand."""
    return [(chapter, event.but(seq=n)) for n, event in enumerate(events, 1)]


def row(kind: int, at: int, ordinal: int = 0, name: str = "", **rest: Any) -> Event:
    return Event(0, kind, ordinal, BEGIN + at, name, **rest)


STARTED = row(Kind.STARTED, 0, name="3.11")


def told(
    run: Run, events: list[tuple[int, Event]], *children: Record, now: int = 1_000_000
) -> Timeline:
    below = {record.run.id: record for record in children}
    return timeline(Record(run, events), below, BEGIN + now)


def lanes(timeline: Timeline) -> dict[str, Lane]:
    return {lane.title: lane for lane in timeline.lanes}


def spans(lane: Lane) -> list[tuple[str, int, int | None, str]]:
    """(kind, start, end, outcome), from the beginning."""
    return [
        (
            span.kind.value,
            span.start_ms - BEGIN,
            None if span.end_ms is None else span.end_ms - BEGIN,
            span.outcome.value,
        )
        for span in lane.spans
    ]


def test_a_step_begins_as_long_before_its_end_as_it_took() -> None:
    events = rows(
        STARTED,
        row(Kind.STEP_FINISHED, 300, 1, "charge", took=250, attempt=1),
        row(Kind.ENDED, 310, name="COMPLETED"),
    )
    seen = told(a_run(Status.COMPLETED, 310), events)
    assert spans(lanes(seen)["charge"]) == [("step", 50, 300, "ok")]
    assert spans(lanes(seen)["desk"]) == [("run", 0, 310, "ok")]
    assert (seen.begin_ms - BEGIN, seen.end_ms - BEGIN, seen.run) == (0, 310, show("run", ROOT))
    assert [lane.depth for lane in seen.lanes] == [0, 1]


def test_attempts_and_back_offs_of_a_step_share_a_lane() -> None:
    events = rows(
        STARTED,
        row(Kind.STEP_FINISHED, 100, 1, "charge", took=100, attempt=1),
        row(Kind.STEP_ATTEMPT_FAILED, 300, 2, "mail", took=400, attempt=1, data=NO_MAIL),
        row(Kind.STEP_ATTEMPT_FAILED, 900, 2, "mail", took=800, attempt=2, data=NO_MAIL),
        row(Kind.STEP_FAILED, 2_000, 2, "mail", took=250, attempt=3, data=NO_MAIL),
        row(Kind.ENDED, 2_000, name="FAILED"),
    )
    lane = lanes(told(a_run(Status.FAILED, 2_000, failure=NO_MAIL), events))["mail"]
    assert spans(lane) == [
        ("step", 100, 300, "failed"),
        ("back-off", 300, 700, "ok"),
        ("step", 700, 900, "failed"),
        ("back-off", 900, 1_700, "ok"),
        ("step", 1_750, 2_000, "failed"),
    ]
    assert [span.attempt for span in lane.spans] == [1, 0, 2, 0, 3]
    assert lane.spans[0].detail == "ConnectionError: no mail [31mserver"


def test_a_timer_began_with_the_fact_that_led_to_it() -> None:
    late = 700
    events = rows(
        STARTED,
        row(Kind.STEP_FINISHED, 200, 1, "charge", took=200, attempt=1),
        row(Kind.TIMER_FIRED, 200 + DAY + late, 2, digest=DAY),
        row(Kind.TIMER_FIRED, 3 * DAY, 3, digest=BEGIN + 3 * DAY),
        row(Kind.ENDED, 3 * DAY, name="COMPLETED"),
    )
    seen = told(a_run(Status.COMPLETED, 3 * DAY), events)
    first, second = [lane for lane in seen.lanes if lane.kind is SpanKind.WAIT]
    assert spans(first) == [("wait", 200, 200 + DAY + late, "ok")]
    assert spans(second) == [("wait", 200 + DAY + late, 3 * DAY, "ok")]


def test_what_a_lost_worker_had_is_told_of_beside_the_attempt_that_came_after() -> None:
    events = rows(
        STARTED,
        row(Kind.STEP_FINISHED, 100, 1, "charge", took=100, attempt=1),
        row(Kind.TAKEN, 10_000),
        row(Kind.STEP_FINISHED, 10_600, 2, "mail", took=590, attempt=1),
        row(Kind.STEP_FINISHED, 10_700, 3, "ship", took=100, attempt=1),
        row(Kind.ENDED, 10_700, name="COMPLETED"),
    )
    seen = lanes(told(a_run(Status.COMPLETED, 10_700), events))
    assert spans(seen["mail"]) == [("step", 100, 10_000, "lost"), ("step", 10_010, 10_600, "ok")]
    assert spans(seen["ship"]) == [("step", 10_600, 10_700, "ok")]
    assert [(mark.kind, mark.at_ms - BEGIN) for mark in seen["desk"].marks] == [
        ("taken over", 10_000)
    ]


def test_a_retried_task_shows_both_attempts_and_what_was_kept_once() -> None:
    kept = row(Kind.STEP_FINISHED, 100, 1, "charge", took=100, attempt=1)
    beside = row(Kind.STEP_FINISHED, 350, 3, "log", took=200, attempt=1)
    events = [
        *rows(
            STARTED,
            kept,
            row(Kind.STEP_FAILED, 300, 2, "ship", took=200, attempt=1, data=NO_MAIL),
            beside,
            row(Kind.ATTEMPT_FAILED, 360, attempt=1, took=2_000, data=NO_MAIL),
        ),
        *rows(
            STARTED,
            kept,
            beside,
            row(Kind.STEP_FINISHED, 2_900, 2, "ship", took=500, attempt=1),
            row(Kind.ENDED, 2_900, name="COMPLETED"),
            chapter=2,
        ),
    ]
    seen = told(a_run(Status.COMPLETED, 2_900, chapter=2, attempt=2), events)
    found = lanes(seen)
    assert spans(found["desk"]) == [
        ("run", 0, 360, "failed"),
        ("back-off", 360, 2_360, "ok"),
        ("run", 2_360, 2_900, "ok"),
    ]
    assert spans(found["charge"]) == [("step", 0, 100, "ok")]
    assert spans(found["log"]) == [("step", 150, 350, "ok")]
    assert spans(found["ship"]) == [("step", 100, 300, "failed"), ("step", 2_400, 2_900, "ok")]
    assert [(mark.label, mark.at_ms - BEGIN) for mark in found["desk"].marks] == [
        ("attempt 2", 2_360)
    ]


def test_what_is_under_way_is_open() -> None:
    token = derived_id(BEGIN, ROOT, 1, 2)
    events = rows(
        STARTED,
        row(Kind.TOKEN_CREATED, 50, 1, "token", data=token),
        row(Kind.TOKEN_AWAITED, 50, 2, data=token),
        row(Kind.STEP_ATTEMPT_FAILED, 100, 3, "mail", took=500, attempt=1, data=NO_MAIL),
    )
    waiting = told(a_run(Status.WAITING, due_at=BEGIN + 600), events, now=400)
    found = lanes(waiting)
    assert spans(found["token"]) == [("token", 50, None, "open")]
    assert spans(found["mail"])[1:] == [("back-off", 100, None, "open")]
    assert found["mail"].spans[-1].due_ms == BEGIN + 600
    assert "wait" not in found, "the due time is that of the back-off"
    assert spans(found["desk"]) == [("run", 0, None, "open")]
    assert waiting.end_ms == BEGIN + 400

    sleeping = told(a_run(Status.WAITING, due_at=BEGIN + DAY), events[:1], now=400)
    assert spans(lanes(sleeping)["wait"]) == [("wait", 0, None, "open")]
    assert lanes(sleeping)["wait"].spans[0].due_ms == BEGIN + DAY

    working = told(a_run(Status.EXECUTING), events[:1], now=400)
    assert spans(lanes(working)["under way"]) == [("step", 0, None, "open")]
    again = told(a_run(Status.EXECUTING), events, now=700)
    assert spans(lanes(again)["mail"])[1:] == [
        ("back-off", 100, 600, "ok"),
        ("step", 600, None, "open"),
    ]
    assert "under way" not in lanes(again)


def test_an_answer_or_the_end_of_the_run_closes_a_token() -> None:
    one, two = derived_id(BEGIN, ROOT, 1, 1), derived_id(BEGIN, ROOT, 1, 3)
    events = rows(
        STARTED,
        row(Kind.TOKEN_CREATED, 10, 1, "token", data=one),
        row(Kind.TOKEN_AWAITED, 20, 2, data=one),
        row(Kind.TOKEN_ENDED, 500, 2, "TIMED_OUT"),
        row(Kind.TOKEN_CREATED, 600, 3, "token", data=two),
        row(Kind.CANCEL_REQUESTED, 700),
        row(Kind.ENDED, 800, name="CANCELED"),
    )
    seen = told(a_run(Status.CANCELED, 800), events)
    first, second = [lane for lane in seen.lanes if lane.kind is SpanKind.TOKEN]
    assert spans(first) == [("token", 20, 500, "timed out")]
    assert spans(second) == [("token", 600, 800, "canceled")]
    assert [mark.label for mark in seen.lanes[0].marks] == ["cancel requested"]


def test_a_child_that_is_known_has_its_own_lanes_below() -> None:
    child = Run(CHILD, "dev", "helper", b"1", BEGIN + 50, parent_id=ROOT, root_id=ROOT)
    child.status, child.started_at, child.ended_at = Status.COMPLETED, BEGIN + 80, BEGIN + 400
    inner = rows(
        row(Kind.STARTED, 80),
        row(Kind.STEP_FINISHED, 400, 1, "quick", took=300, attempt=1),
        row(Kind.ENDED, 400, name="COMPLETED"),
    )
    events = rows(
        STARTED,
        row(Kind.CHILD_TRIGGERED, 50, 1, "helper", data=CHILD),
        row(Kind.CHILD_ENDED, 420, 1, "COMPLETED", data=b"1"),
        row(Kind.STEP_FINISHED, 500, 2, "mail", took=80, attempt=1),
        row(Kind.ENDED, 500, name="COMPLETED"),
    )
    run = a_run(Status.COMPLETED, 500)
    seen = told(run, events, Record(child, inner))
    order = [(lane.depth, lane.title, lane.ordinal) for lane in seen.lanes]
    assert order == [(0, "desk", 0), (1, "helper", 1), (2, "quick", 1), (1, "mail", 2)]
    assert spans(seen.lanes[1]) == [("queued", 50, 80, "ok"), ("run", 80, 400, "ok")]
    assert seen.lanes[2].path == ("desk", "helper", "quick")

    alone = lanes(told(run, events))["helper"]
    assert spans(alone) == [("child", 50, 420, "ok")]


def test_runs_that_a_step_started_are_told_of_though_no_row_names_them() -> None:
    child = Run(CHILD, "dev", "helper", b"1", BEGIN + 50, parent_id=ROOT, root_id=ROOT)
    seen = told(a_run(Status.EXECUTING), rows(STARTED), Record(child, ()))
    assert spans(lanes(seen)["helper"]) == [("queued", 50, None, "open")]


def test_a_run_of_somebody_else_is_only_waited_for() -> None:
    other = Run(CHILD, "dev", "helper", b"1", BEGIN - 9 * DAY)
    events = rows(
        STARTED,
        row(Kind.CHILD_TRIGGERED, 50, 1, "helper", data=derived_id(BEGIN, ROOT, 1, 1)),
        row(Kind.CHILD_STARTED, 60, 1, data=CHILD, attempt=1),
        row(Kind.CHILD_ENDED, 70, 1, "COMPLETED", data=b"1"),
        row(Kind.ENDED, 80, name="COMPLETED"),
    )
    seen = told(a_run(Status.COMPLETED, 80), events, Record(other, ()))
    assert spans(lanes(seen)["helper"]) == [("child", 50, 70, "ok")]
    assert seen.begin_ms == BEGIN


def test_rows_of_kinds_that_are_not_known_yet_break_nothing() -> None:
    events = rows(
        STARTED,
        row(201, 20, 1, "mystery"),
        row(202, 30),
        row(Kind.MESSAGE_AWAITED, 40, 2, "go"),
        row(Kind.MESSAGE_RECEIVED, 90, 2, "go", data=b"1"),
        row(Kind.PATCHED, 95, name="faster"),
        row(Kind.ENDED, 100, name="COMPLETED"),
    )
    seen = told(a_run(Status.COMPLETED, 100), events)
    found = lanes(seen)
    assert spans(found["event 201 mystery"]) == [("other", 20, 20, "ok")]
    assert spans(found["message go"]) == [("message", 40, 90, "ok")]
    assert [mark.label for mark in found["desk"].marks] == ["event 202", "patched faster"]


def test_a_run_that_never_began_was_queued_until_its_end() -> None:
    events = rows(row(Kind.ENDED, 600, name="EXPIRED"))
    seen = told(a_run(Status.EXPIRED, 600, started_at=None), events)
    assert [spans(lane) for lane in seen.lanes] == [[("queued", 0, 600, "timed out")]]
    delayed = told(a_run(Status.DELAYED, started_at=None, due_at=BEGIN + DAY), [])
    assert delayed.lanes[0].spans == (
        Span(SpanKind.QUEUED, BEGIN, None, Outcome.OPEN, due_ms=BEGIN + DAY),
    )


def test_a_clock_that_was_set_back_ends_nothing_before_it_begins() -> None:
    events = rows(row(Kind.ENDED, -600, name="CANCELED"))
    seen = told(a_run(Status.CANCELED, -600, started_at=None), events)
    assert [spans(lane) for lane in seen.lanes] == [[("queued", 0, 0, "canceled")]]


def test_an_attempt_to_come_is_a_back_off_that_is_open() -> None:
    failed = row(Kind.ATTEMPT_FAILED, 360, attempt=1, took=2_000, data=NO_MAIL)
    fresh = row(Kind.STARTED, 2_360, name="3.11")
    events = [*rows(STARTED, failed), *rows(fresh, chapter=2)]
    run = a_run(Status.WAITING, chapter=2, attempt=2, due_at=BEGIN + 2_360)
    seen = told(run, events, now=1_000)
    [lane] = seen.lanes
    assert spans(lane) == [("run", 0, 360, "failed"), ("back-off", 360, None, "open")]
    assert lane.spans[-1].due_ms == BEGIN + 2_360
    assert seen.end_ms == BEGIN + 1_000


def test_a_parked_run_is_marked() -> None:
    run = a_run(Status.WAITING, blocked=Blocked("nondeterminism", "…", BEGIN + 70))
    [mark] = told(run, rows(STARTED)).lanes[0].marks
    assert (mark.label, mark.at_ms) == ("parked: nondeterminism", BEGIN + 70)


# --- batches --------------------------------------------------------------------------------------

BATCH = derived_id(BEGIN, ROOT, 1, 7)


def batch_rows(*more: Event, awaits: Awaits = Awaits.END) -> list[tuple[int, Event]]:
    made = row(Kind.BATCH_TRIGGERED, 50, 1, "double", data=BATCH, took=10_000, attempt=awaits)
    return rows(STARTED, made, *more)


def with_batch(events: list[tuple[int, Event]], members: Members, *children: Record) -> Timeline:
    record = Record(a_run(Status.WAITING), events, {BATCH: members})
    below = {child.run.id: child for child in children}
    return timeline(record, below, BEGIN + 1_000)


def a_member(place: int, status: Status, ended: int) -> Record:
    run = Run(member_ids(BATCH, [place])[0], "dev", "double", b"1", BEGIN + 50, parent_id=ROOT)
    run.batch_id, run.status = BATCH, status
    run.started_at, run.ended_at = BEGIN + 60, BEGIN + ended
    return Record(run, [])


def test_a_batch_is_one_lane_that_counts_its_runs_with_some_of_them_below() -> None:
    ends = {Status.COMPLETED: 9_997, Status.TIMED_OUT: 1, Status.CANCELED: 1}
    members = Members("double", BEGIN + 50, BEGIN + 900, ends, 0)
    seen = with_batch(
        batch_rows(row(Kind.BATCH_ENDED, 950, 1, took=10_000)),
        members,
        a_member(3, Status.TIMED_OUT, 400),
    )
    [root, batch, member] = seen.lanes
    assert (batch.title, batch.kind, batch.depth, batch.ordinal) == ("double", "batch", 1, 1)
    assert batch.tally == Tally(10_000, completed=9_997, failed=1, canceled=1)
    assert spans(batch) == [("batch", 50, 900, "timed out")]
    assert (member.title, member.depth, member.path) == ("double", 2, ("desk", "double", "double"))
    assert root.depth == 0
    for told_of in (str(seen), seen.to_svg()):
        assert f"double {TIMES}10,000" in told_of
        assert "9,999 ended, 1 failed, 1 canceled, 1 were there before" in told_of


def test_a_batch_goes_on_as_long_as_one_of_its_runs_lives() -> None:
    ends = {Status.COMPLETED: 6_120, Status.FAILED: 2}
    members = Members("double", BEGIN + 50, BEGIN + 900, ends, 3_878)
    seen = with_batch(batch_rows(awaits=Awaits.NOTHING), members)
    assert spans(lanes(seen)["double"]) == [("batch", 50, None, "open")]
    assert "6,122 of 10,000 ended, 2 failed" in str(seen)
    page = row(Kind.BATCH_ENDED, 800, 2, took=500, attempt=9_500)
    awaited = row(Kind.BATCH_AWAITED, 90, 2, data=BATCH, took=10_000)
    seen = with_batch(batch_rows(awaited, page, awaits=Awaits.NOTHING), members)
    assert spans(lanes(seen)["results of double"]) == [("batch", 90, None, "open")]
    failed = row(Kind.BATCH_ENDED, 800, 2, "FAILED", took=500, attempt=9_500)
    seen = with_batch(batch_rows(awaited, failed, awaits=Awaits.NOTHING), members)
    assert spans(lanes(seen)["results of double"]) == [("batch", 90, 800, "failed")]


def test_a_batch_that_a_step_started_is_told_of_though_no_row_names_it() -> None:
    members = Members("double", BEGIN + 50, BEGIN + 90, {Status.COMPLETED: 3}, 0)
    seen = with_batch(rows(STARTED), members)
    assert lanes(seen)["double"].tally == Tally(3, completed=3)


def test_the_batch_of_another_run_is_waited_for_as_long_as_the_history_says() -> None:
    pages = [
        row(Kind.BATCH_ENDED, 400, 1, took=5_000, attempt=5_000),
        row(Kind.BATCH_ENDED, 700, 1, took=5_000),
    ]
    run = a_run(Status.COMPLETED, 900)
    seen = lanes(told(run, batch_rows(*pages)))["double"]
    assert (spans(seen), seen.tally) == ([("batch", 50, 700, "ok")], None)
    keyed = batch_rows(row(Kind.BATCH_STARTED, 60, 1), awaits=Awaits.START)
    assert spans(lanes(told(run, keyed))["double"]) == [("batch", 50, 60, "ok")]
    alone = batch_rows(awaits=Awaits.NOTHING)
    assert spans(lanes(told(run, alone))["double"]) == [("batch", 50, 50, "ok")]
    assert spans(lanes(told(run, batch_rows()))["double"]) == [("batch", 50, 900, "canceled")]
