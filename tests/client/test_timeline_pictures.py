"""A timeline as a picture and as text: what is folded, what is merged, what strangers may write."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from wf.client.timeline.merging import merged
from wf.client.timeline.model import Lane, Mark, MarkKind, Outcome, Span, SpanKind, Tally, Timeline
from wf.client.timeline.scale import scale_of
from wf.client.timeline.svg import MOST_LANES, svg
from wf.client.timeline.text import lines, plain
from wf.client.timeline.words import columns
from wf.history.events import Status

BEGIN = 1_700_000_000_000
WEEK = 604_800_000
EVIL = "<script>alert(1)</script>\"'&]]>\x00\x1b[2J\ud800"


def span(start: int, end: int | None, kind: SpanKind = SpanKind.STEP, detail: str = "") -> Span:
    outcome = Outcome.OPEN if end is None else Outcome.FAILED if detail else Outcome.OK
    return Span(kind, BEGIN + start, None if end is None else BEGIN + end, outcome, 1, detail)


def lane(title: str, *some: Span, run: str = "run_1", path: tuple[str, ...] = ()) -> Lane:
    return Lane(run, some[0].kind, title, len(path), 1, some, (), (*path, title))


def picture_of(*lanes: Lane, end: int, status: Status = Status.COMPLETED) -> Timeline:
    return Timeline("run_1", "desk", status, 1, BEGIN, BEGIN + end, BEGIN + end, lanes)


def onboarding() -> Timeline:
    end = WEEK + 2_000
    whole = Lane(
        "run_1",
        SpanKind.RUN,
        "desk",
        0,
        0,
        (span(0, end, SpanKind.RUN),),
        (Mark(MarkKind.TAKEN, BEGIN + WEEK + 1_500, "worker lost, taken over"),),
        ("desk",),
    )
    path = ("desk",)
    return picture_of(
        whole,
        lane("mail", span(0, 400, detail="ConnectionError: no mail"), span(600, 1_000), path=path),
        lane("wait", span(1_000, WEEK + 1_000, SpanKind.WAIT), path=path),
        lane("offer", span(WEEK + 1_000, WEEK + 2_000), path=path),
        end=end,
    )


# --- the scale ------------------------------------------------------------------------------------


def test_a_week_of_waiting_is_folded_and_milliseconds_beside_it_can_be_seen() -> None:
    scale = scale_of(onboarding(), 0.08)
    [fold] = scale.folds
    assert fold.length_ms == WEEK
    assert round(fold.right - fold.left, 3) == 0.08
    assert scale.at(BEGIN + 400) - scale.at(BEGIN) > 0.15
    assert (scale.at(BEGIN), scale.at(BEGIN + WEEK + 2_000)) == (0.0, 1.0)
    moments = [scale.at(BEGIN + at) for at in (0, 400, 1_000, 5_000, WEEK, WEEK + 1_500)]
    assert moments == sorted(moments)


def test_nothing_is_folded_where_everything_can_be_seen() -> None:
    path = ("desk",)
    seen = picture_of(
        lane("charge", span(0, 500), path=path),
        lane("wait", span(500, 1_500, SpanKind.WAIT), path=path),
        end=1_500,
    )
    assert not any(scale_of(seen, 0.08).folds)


def test_a_step_is_never_folded_however_long_it_is() -> None:
    seen = picture_of(lane("render", span(0, WEEK)), lane("mail", span(WEEK, WEEK + 5)), end=WEEK)
    assert not any(scale_of(seen, 0.08).folds)


def test_the_wait_for_a_lost_worker_is_folded() -> None:
    lost = Span(SpanKind.STEP, BEGIN + 20, BEGIN + 60_000, Outcome.LOST, 1)
    seen = picture_of(lane("mail", span(0, 20), lost, span(60_000, 60_020)), end=60_020)
    [fold] = scale_of(seen, 0.08).folds
    assert fold.length_ms == 59_980


def test_ticks_are_round_and_apart() -> None:
    seen = picture_of(lane("render", span(0, 4_700)), end=4_700)
    scale = scale_of(seen, 0.08)
    assert scale.ticks(scale.pieces[0], 0.2) == [1_000, 2_000, 3_000, 4_000]
    assert scale.ticks(scale.pieces[0], 0.3) == [2_000, 4_000]


def test_a_timeline_of_no_time_at_all_is_drawn() -> None:
    seen = picture_of(lane("desk", span(0, 0, SpanKind.RUN)), end=0)
    assert ET.fromstring(svg(seen)).tag.endswith("svg")
    assert "desk" in plain(seen)


# --- merging --------------------------------------------------------------------------------------


def test_lanes_of_one_sort_are_merged_and_no_span_is_lost() -> None:
    many: list[Lane] = []
    for n in range(500):
        many.append(lane("poll", span(n, n + 1), path=("desk",)))
        many.append(lane("wait", span(n, n + 1, SpanKind.WAIT), path=("desk",)))
    many.append(lane("report", span(600, 700), path=("desk",)))
    found, hidden = merged(many, 10)
    assert [(one.title, one.count) for one in found] == [
        ("poll", 500),
        ("wait", 500),
        ("report", 1),
    ]
    assert hidden == 0
    assert sum(len(one.spans) for one in found) == 1_001
    assert merged(many[:6], 10) == (many[:6], 0)


def test_runs_of_one_task_are_merged_with_what_they_did() -> None:
    many = [lane("desk", span(0, 9, SpanKind.RUN))]
    for n in range(30):
        run = f"run_c{n}"
        many.append(lane("tips", span(n, n + 9, SpanKind.RUN), run=run, path=("desk",)))
        many.append(lane("write", span(n, n + 1), run=run, path=("desk", "tips")))
        if n == 20:
            many.append(lane("retry", span(n, n + 1), run=run, path=("desk", "tips")))
    many.append(lane("mail", span(99, 100), path=("desk",)))
    found, hidden = merged(many, 10)
    assert [(one.title, one.count) for one in found] == [
        ("desk", 1),
        ("tips", 30),
        ("write", 30),
        ("retry", 1),
        ("mail", 1),
    ]
    assert hidden == 0


def test_batches_are_merged_with_their_runs_and_counted_together() -> None:
    many = [lane("desk", span(0, 9, SpanKind.RUN))]
    for n in range(30):
        of_all = lane("double", span(n, n + 9, SpanKind.BATCH), path=("desk",))
        many.append(replace(of_all, tally=Tally(100, completed=98, live=2)))
        run, path = span(n, n + 9, SpanKind.RUN), ("desk", "double")
        many += [lane("double", run, run=f"run_{n}_{one}", path=path) for one in range(5)]
    found, hidden = merged(many, 10)
    assert [(one.title, one.count) for one in found] == [
        ("desk", 1),
        ("double", 30),
        ("double", 150),
    ]
    assert found[1].tally == Tally(3_000, completed=2_940, live=60)
    assert hidden == 0


def test_runs_that_no_lane_tells_of_are_counted() -> None:
    seen = replace(picture_of(lane("desk", span(0, 9, SpanKind.RUN)), end=9), left_out=1_200)
    assert "and 1,200 more" in plain(seen)
    assert "and 1,200 more" in svg(seen)


def test_what_cannot_be_merged_is_counted() -> None:
    many = [lane(f"step-{n}", span(n, n + 1), path=("desk",)) for n in range(100)]
    found, hidden = merged(many, 10)
    assert (len(found), hidden) == (9, 91)
    seen = picture_of(*many, end=100)
    assert f"and {100 - MOST_LANES + 1} more" in svg(seen)


# --- what strangers write -------------------------------------------------------------------------


def test_the_picture_is_xml_and_holds_no_markup_of_strangers() -> None:
    path = ("desk",)
    seen = Timeline(
        EVIL,
        EVIL,
        Status.FAILED,
        2,
        BEGIN,
        BEGIN + 900,
        BEGIN + 900,
        (
            Lane(
                "run_1",
                SpanKind.RUN,
                EVIL,
                0,
                0,
                (span(0, 900, SpanKind.RUN, EVIL),),
                (Mark(MarkKind.OTHER, BEGIN + 5, EVIL),),
                path,
            ),
            lane(EVIL, span(0, 200, detail=EVIL), span(300, None), path=path),
        ),
    )
    picture = svg(seen)
    tags = {element.tag.partition("}")[2] for element in ET.fromstring(picture).iter()}
    assert tags <= {"svg", "title", "style", "defs", "pattern", "path", "rect", "g", "line"} | {
        "text",
        "polygon",
        "polyline",
    }
    assert "<script" not in picture
    assert "href" not in picture
    assert "alert(1)" in picture


def test_the_picture_says_durations_attempts_errors_and_breaks() -> None:
    picture = svg(onboarding())
    for part in ("1w", "ConnectionError: no mail", "worker lost, taken over", "failed attempt"):
        assert part in picture
    assert "torn: nothing but waiting" in picture
    assert "prefers-color-scheme: dark" in picture
    assert onboarding()._repr_html_() == picture  # pyright: ignore[reportPrivateUsage]


# --- text -----------------------------------------------------------------------------------------


def test_text_is_as_wide_as_it_may_be_whatever_stands_in_it() -> None:
    wide = onboarding()
    chinese = lane("发送欢迎邮件" * 9, span(0, 400, detail="错误" * 60), path=("desk",))
    seen = picture_of(*wide.lanes, chinese, end=WEEK + 2_000)
    for width in (60, 80, 110, 200):
        for row in plain(seen, width).splitlines()[1:]:
            assert columns(row) <= width, row


def test_text_has_a_bar_for_each_span_and_the_duration_of_a_break() -> None:
    head, _, axis, *rows = plain(onboarding(), 100).splitlines()
    assert head.startswith("desk  run_1  COMPLETED  1w")
    assert "1w" in axis
    mail = next(row for row in rows if row.startswith("  mail"))
    bars = mail.removeprefix("  mail")
    assert bars.index("✗") < bars.index("█")
    assert mail.rstrip().endswith("400ms  ConnectionError: no mail")
    wait = next(row for row in rows if row.startswith("  wait"))
    assert "░\N{BOX DRAWINGS LIGHT DIAGONAL UPPER RIGHT TO LOWER LEFT}" in wait
    assert any("↯" in row and "worker lost" in row for row in rows)


def test_a_terminal_that_knows_only_ascii_gets_only_ascii() -> None:
    text = "".join(part for row in lines(onboarding(), 100, is_ascii=True) for part, _ in row)
    assert text.isascii()
    assert "x" in text
    assert "//" in text


def test_a_span_that_goes_on_is_drawn_as_such() -> None:
    seen = picture_of(lane("desk", span(0, None, SpanKind.RUN)), end=5_000, status=Status.EXECUTING)
    assert "5s so far" in plain(seen)
    assert "▸" in plain(seen)
    assert "5s so far" in svg(seen)
