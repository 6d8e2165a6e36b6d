"""The tree behind the live view: plain data, built from what the worker tells."""

from __future__ import annotations

from tests.cli.terminal import RUN_ID
from wf.cli import draw
from wf.cli.tree import MessageNode, State, TokenNode, Tree
from wf.engine.core.durations import show_duration
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import show
from wf.history.model import Activation, NewRun, NewToken, Run, Wait
from wf.history.turns import Ending, NextChapter

ROOT = b"\x01" * 16
CHILD = b"\x02" * 16
TOKEN = b"\x03" * 16
BOOM = Failure("ValueError", "two\nlines").encode()
NOW = 1_000_000


def run(id: bytes = ROOT, task: str = "root", chapter: int = 1, attempt: int = 1) -> Run:
    return Run(id, "dev", task, b"null", NOW, chapter, attempt)


def tree() -> Tree:
    made = Tree(lambda: NOW)
    made.claimed(run(), [])
    return made


def commit(tree: Tree, *events: Event, of: Run | None = None, **more: object) -> None:
    which = of or run()
    activation = Activation(which.id, which.chapter, events=list(events))
    for name, value in more.items():
        setattr(activation, name, value)
    tree.committed(which, activation)


def drawn(tree: Tree, now: int = NOW) -> list[str]:
    look = draw.Look(now, monotonic=0.0)
    return [
        f"{line.guide}{line.symbol} {line.name} {line.time} {line.note}".rstrip()
        for line in draw.lines_of(tree, look)
    ]


def test_steps_come_in_the_order_in_which_the_body_asked_for_them() -> None:
    made = tree()
    commit(made, Event(2, Kind.STEP_FINISHED, 2, NOW, "second", took=5, attempt=1))
    commit(made, Event(3, Kind.STEP_FINISHED, 1, NOW, "first", took=1500, attempt=1))
    assert drawn(made)[1:] == ["├─ ✓ first 1.5s", "└─ ✓ second 5ms"]


def test_a_retry_counts_down_to_its_next_attempt() -> None:
    made = tree()
    commit(made, Event(2, Kind.STEP_ATTEMPT_FAILED, 1, NOW, "s", attempt=1, took=2_000, data=BOOM))
    assert (
        "↻ s  attempt 1 failed, again in 1.5s: ValueError: two lines" in drawn(made, NOW + 500)[1]
    )
    assert "again now" in drawn(made, NOW + 2_500)[1]
    commit(made, Event(3, Kind.STEP_FINISHED, 1, NOW, "s", took=5, attempt=2))
    assert drawn(made)[1] == "└─ ✓ s 5ms attempt 2"


def test_a_wait_counts_down_and_stays_when_it_is_over() -> None:
    made = tree()
    commit(made, release=True, due_at=NOW + 90_000)
    assert "◷ wait  1m 30s left, until" in drawn(made)[1]
    made.claimed(run(), [])
    commit(made, Event(2, Kind.TIMER_FIRED, 1, NOW + 90_000, digest=90_000))
    assert drawn(made)[1] == "└─ ✓ wait 1m 30s"


def test_children_are_nested_and_say_when_nobody_waits_for_them() -> None:
    made = tree()
    triggered = Event(2, Kind.CHILD_TRIGGERED, 1, NOW, "leaf", data=CHILD)
    commit(made, triggered, children=[NewRun(CHILD, "dev", "leaf", b"1", NOW)])
    assert drawn(made)[1] == "└─ ○ leaf (not awaited)"
    made.claimed(run(CHILD, "leaf"), [])
    finished = Event(2, Kind.STEP_FINISHED, 1, NOW, "s", took=5, attempt=1)
    commit(made, finished, of=run(CHILD, "leaf"))
    assert drawn(made)[2] == "   └─ ✓ s 5ms"
    commit(made, Event(3, Kind.CHILD_AWAITED, 2, NOW, data=CHILD))
    assert "(not awaited)" not in drawn(made)[1]
    commit(made, Event(4, Kind.CHILD_ENDED, 2, NOW, Status.COMPLETED, data=b"1"))
    assert made.runs[CHILD].state is State.RUNNING, "the child's own end says how long it took"
    commit(made, of=run(CHILD, "leaf"), ending=Ending(Status.COMPLETED, b"1", None, NOW + 250))
    assert drawn(made)[1] == "└─ ✓ leaf 250ms"


def test_an_awaited_child_is_one_line() -> None:
    made = tree()
    commit(
        made,
        Event(2, Kind.CHILD_TRIGGERED, 1, NOW, "leaf", data=CHILD),
        children=[NewRun(CHILD, "dev", "leaf", b"1", NOW)],
        waits=[Wait(CHILD, 1)],
    )
    assert drawn(made)[1] == "└─ ○ leaf"
    commit(made, Event(3, Kind.CHILD_ENDED, 1, NOW, Status.FAILED, data=BOOM))
    assert drawn(made)[1] == "└─ ✗ leaf  ValueError: two lines"


def test_a_child_with_an_idempotency_key_is_the_run_that_it_is() -> None:
    made = tree()
    commit(made, Event(2, Kind.CHILD_TRIGGERED, 1, NOW, "leaf", data=CHILD))
    commit(made, Event(3, Kind.CHILD_STARTED, 1, NOW, attempt=1, data=TOKEN))
    assert set(made.runs) == {ROOT, TOKEN}
    assert made.runs[TOKEN].name == "leaf"


def test_a_token_tells_the_command_that_completes_it() -> None:
    made = tree()
    created = Event(2, Kind.TOKEN_CREATED, 1, NOW, "token", data=TOKEN)
    schema = b'{"type": "object", "properties": {"ok": {"type": "boolean"}}}'
    asked = NewToken(TOKEN, "dev", NOW, NOW + 60_000, ROOT, schema=schema)
    commit(made, created, tokens=[asked])
    commit(made, Event(3, Kind.TOKEN_AWAITED, 2, NOW, data=TOKEN), release=True)
    [token] = made.runs[ROOT].items.values()
    assert isinstance(token, TokenNode)
    assert "1m left" in drawn(made)[1]
    command = draw.Commands(" --db x.db").complete(token)
    assert command.startswith("wf tokens complete token_")
    assert command.endswith(""" '{"ok": true}' --db x.db""")
    commit(made, Event(4, Kind.TOKEN_ENDED, 2, NOW, "TIMED_OUT"))
    assert drawn(made)[1] == "└─ ✗ token  nobody completed it in time"


def test_a_message_that_is_awaited_has_a_line_and_a_command() -> None:
    made = tree()
    commit(
        made,
        Event(2, Kind.MESSAGE_AWAITED, 1, NOW, "go on", digest=90_000),
        Event(3, Kind.MESSAGE_AWAITED, 2, NOW, "stop"),
        release=True,
        due_at=NOW + 90_000,
    )
    assert drawn(made)[1].startswith("├─ ◷ message go on  1m 30s left, until ")
    assert drawn(made)[2:] == ["└─ ◷ message stop"]
    message = made.runs[ROOT].items[1]
    assert isinstance(message, MessageNode)
    command = draw.Commands(" --db x.db").send(made.runs[ROOT], message)
    assert command == f"wf send {show('run', ROOT)} 'go on' JSON --db x.db"
    commit(made, Event(4, Kind.MESSAGE_RECEIVED, 2, NOW, "stop", data=b"1"))
    assert drawn(made)[2] == "└─ ✓ message stop"
    commit(made, Event(5, Kind.MESSAGE_TIMED_OUT, 1, NOW, "go on"))
    assert drawn(made)[1] == "├─ ✗ message go on  nobody sent it in time"


def test_what_a_step_started_stands_below_its_run_once() -> None:
    made = tree()
    commit(made, Event(2, Kind.STEP_FINISHED, 1, NOW, "s", took=5, attempt=1))
    by_step = run(CHILD, "leaf")
    by_step.parent_id = ROOT
    made.claimed(by_step, [])
    made.claimed(by_step, [])
    for place in range(3):
        member = run(bytes([9, place]) * 8, "many")
        member.parent_id, member.batch_id = ROOT, b"batch"
        made.claimed(member, [])
        commit(made, of=member, ending=Ending(Status.COMPLETED, b"1", None, NOW))
    assert [line.partition("  ")[0] for line in drawn(made)[1:]] == [
        "├─ ✓ s 5ms",
        "├─ ⠋ leaf (not awaited) 0.0s",
        "└─ ✓ 3 runs of many",
    ]
    commit(made, Event(3, Kind.CHILD_TRIGGERED, 2, NOW, "leaf", data=CHILD))
    assert len(drawn(made)) == 4


def test_the_next_attempt_of_a_task_begins_a_new_picture() -> None:
    made = tree()
    commit(
        made,
        Event(2, Kind.STEP_FINISHED, 1, NOW, "s", took=5, attempt=1),
        Event(3, Kind.ATTEMPT_FAILED, 0, NOW, attempt=1, data=BOOM),
        next_chapter=NextChapter(2, 3, 2),
        due_at=NOW + 1_000,
    )
    assert "again in 1.0s, ValueError: two lines" in drawn(made)[0]
    kept = [Event(1, Kind.STARTED, 0, NOW), Event(2, Kind.STEP_FINISHED, 1, NOW, "s", took=5)]
    made.claimed(run(chapter=2, attempt=2), kept)
    assert drawn(made)[1] == "└─ ✓ s 5ms"
    assert "attempt 2" in drawn(made)[0]


def test_what_was_told_before_is_not_told_again() -> None:
    told: list[str] = []
    made = Tree(lambda: NOW, lambda run, node, what: told.append(what))
    made.fill(run(), [(1, Event(1, Kind.STARTED, 0, NOW))])
    finished = Event(2, Kind.STEP_FINISHED, 1, NOW, "s", took=5, attempt=1)
    made.claimed(run(), [Event(1, Kind.STARTED, 0, NOW), finished])
    made.claimed(run(), [Event(1, Kind.STARTED, 0, NOW), finished])
    assert told == ["done"]


def test_what_is_open_when_a_run_ends_is_over() -> None:
    made = tree()
    commit(
        made,
        Event(2, Kind.STEP_ATTEMPT_FAILED, 1, NOW, "s", attempt=1, took=2_000, data=BOOM),
        ending=Ending(Status.CANCELED, None, BOOM, NOW + 10),
    )
    assert drawn(made)[0].startswith("⊘ root 10ms run_")
    assert RUN_ID.search(drawn(made)[0])
    assert drawn(made)[0].endswith("canceled")
    assert drawn(made)[1].startswith("└─ ⊘ s")
    assert not made.is_timed()


def test_a_tree_that_is_too_high_folds_what_is_over() -> None:
    made = tree()
    for n in range(1, 51):
        commit(made, Event(n + 1, Kind.STEP_FINISHED, n, NOW, f"s{n}", took=5, attempt=1))
    commit(made, Event(52, Kind.STEP_ATTEMPT_FAILED, 51, NOW, "s51", attempt=1, took=9, data=BOOM))
    lines = draw.lines_of(made, draw.Look(NOW))
    folded = draw.fold(lines, 10)
    assert len(folded) <= 10
    assert folded[0].name == "root"
    assert folded[-1].name == "s51"
    assert any(line.name.endswith("done") for line in folded)
    assert draw.fold(lines, 100) == lines
    many = [draw.Line("", State.RUNNING, "x", str(n)) for n in range(50)]
    assert [line.name for line in draw.fold(many, 3)] == ["0", "1", "48 more"]


def test_what_is_over_is_folded_into_as_few_lines_as_can_be() -> None:
    states = [State.RUNNING, State.DONE, State.RUNNING, *[State.DONE] * 6]
    lines = [draw.Line("", state, "x", str(n)) for n, state in enumerate(states)]
    for height, left in ((9, "012345678"), (8, "012…5678"), (5, "012…8"), (4, "012+")):
        folded = draw.fold(lines, height)
        assert len(folded) == len(left) == height
        marks = {"⋮": "…" if height > 4 else "+"}
        assert "".join(marks.get(line.symbol, line.name) for line in folded) == left


def test_durations_are_short() -> None:
    assert [show_duration(ms) for ms in (5, 1500, 90_000, 86_400_000)] == [
        "5ms",
        "1.5s",
        "1m 30s",
        "1d",
    ]
    assert (draw.tenths(1_234), draw.tenths(-5)) == ("1.2s", "0.0s")


def test_an_example_fits_the_schema() -> None:
    assert draw.example(b"null") == "JSON"
    assert draw.example(b'{"type": "string"}') == "'\"...\"'"
    nested = b'{"$defs": {"C": {"enum": ["red"]}}, "properties": {"c": {"$ref": "#/$defs/C"}}}'
    assert draw.example(nested) == """'{"c": "red"}'"""
