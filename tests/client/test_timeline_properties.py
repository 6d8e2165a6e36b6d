"""Whatever happened to a run, its timeline holds: every attempt of a step that left a row is there
once, nothing ends before it begins, nothing of an ended run is open."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from tests.faults.scenario import Plans
from wf.client.timeline.build import timeline
from wf.client.timeline.model import Outcome, SpanKind, Timeline
from wf.client.timeline.reading import read
from wf.client.timeline.story import Record
from wf.client.timeline.svg import svg
from wf.client.timeline.text import plain
from wf.history.events import Event, Kind, Status
from wf.history.ids import show
from wf.history.model import RunFilter
from wf.history.store import Store
from wf.testing.simulation import Simulation

SEEDS = range(12)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL + 1):
        yield


@pytest.mark.parametrize("seed", SEEDS)
def test_timelines_of_runs_that_were_killed_retried_and_canceled_hold(seed: int) -> None:
    found: list[str] = []
    count = 0

    def look(store: Store) -> list[str]:
        nonlocal count
        for run in store.list_runs(RunFilter("dev", limit=1_000)):
            count += 1
            events = store.history(run.id)
            found.extend(breaches(read(store, run), show("run", run.id), events))
            found.extend(_when_it_lived(Record(run, events), Random(seed)))
        return []

    Simulation(seed, Plans(), look, moves=150).run()
    assert count
    assert found == []


def _when_it_lived(record: Record, random: Random) -> list[str]:
    """The same run as it was before: any beginning of a history is one."""
    place = random.randint(0, len(record.events))
    events = record.events[:place]
    status = random.choice([Status.EXECUTING, Status.WAITING, Status.QUEUED])
    run = replace(record.run, status=status, ended_at=None)
    now = events[-1][1].at + random.randint(0, 5_000) if events else run.created_at
    told = timeline(Record(run, events), {}, now)
    return breaches(told, show("run", run.id), events)


def breaches(told: Timeline, run: str, events: Sequence[tuple[int, Event]]) -> list[str]:
    found = [
        f"{span} of {run} ends before it begins"
        for span in told.spans()
        if not told.begin_ms <= span.start_ms <= told.end_of(span) <= told.end_ms
    ]
    if told.status.ended:
        own = [
            span
            for lane in told.lanes
            if lane.run == run and lane.tally is None  # runs of a batch may outlive it
            for span in lane.spans
        ]
        found += [f"{span} of {run}, which has ended" for span in own if span.end_ms is None]
    ended = {Kind.STEP_FINISHED, Kind.STEP_FAILED, Kind.STEP_ATTEMPT_FAILED}
    restarts = {chapter: event.attempt for chapter, event in events if event.kind == Kind.STARTED}
    # What an attempt of the task keeps stands in its chapter, too; a restart keeps nothing.
    rows = {
        (restarts.get(chapter), event.but(seq=0))
        for chapter, event in events
        if event.kind in ended
    }
    found += [
        f"{lane.title} {lane.ordinal} of {run} counts {lane.tally}"
        for lane in told.lanes
        if (tally := lane.tally) is not None
        and tally.completed + tally.failed + tally.canceled + tally.live > tally.runs
    ]
    wanted = Counter((row.name, row.ordinal, row.at, row.attempt) for _, row in rows)
    shown = Counter(
        (lane.title, lane.ordinal, told.end_of(span), span.attempt)
        for lane in told.lanes
        if lane.run == run and lane.kind is SpanKind.STEP
        for span in lane.spans
        if span.kind is SpanKind.STEP and _left_a_row(span.outcome, span.detail)
    )
    if wanted != shown:
        found.append(f"{run}: steps {wanted - shown} are missing, {shown - wanted} too many")
    ET.fromstring(svg(told))
    assert plain(told)
    return found


def _left_a_row(outcome: Outcome, detail: str) -> bool:
    """An attempt that was cut short left none; one whose row says so has that as its detail."""
    return outcome not in {Outcome.OPEN, Outcome.LOST, Outcome.CANCELED} or bool(detail)
