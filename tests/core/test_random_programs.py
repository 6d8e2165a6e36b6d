"""Random programs: live, replayed from nothing, and cut anywhere, a body decides the same (rule 4).

The programs are those of wf.testing.programs, in virtual time on the stage. A failing example
prints its `@reproduce_failure` line and the program.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import Stage, check_replays, facts_of, rebuilt, told
from wf.history.events import CHAPTER_ENDS, COMPLETIONS, Event, Kind
from wf.testing.mail import letters
from wf.testing.nodes import Program, programs
from wf.testing.programs import answer_of, interpret

EXAMPLES = 80
"""Each one is replayed from every place of its history."""


def script(program: Program, *, cancel_at: int | None, stops: bool, shift: int) -> Script:
    """The world as the program has it; `shift` moves the ends of steps, so that orders change."""

    def took(step: str, order: Any, attempt: int) -> int:
        return order["ms"] + (order["name"] * shift + attempt) % 4

    def child(task: str, order: Any) -> Answer:
        if order is None:  # a reader
            return Answer(0, 1)
        error = ValueError("the child fails") if order["fails"] else None
        return Answer(
            order["name"], order["ms"], "FAILED" if error is not None else "COMPLETED", error
        )

    def token(n: int, tags: tuple[str, ...]) -> Answer:
        value, after_ms = answer_of(tags)
        return Answer(value, after_ms)

    return Script(
        took=took,
        child=child,
        token=token,
        messages=letters(program),
        cancel_at=cancel_at,
        stops=stops,
    )


@st.composite
def worlds(draw: st.DrawFn) -> Stage:
    program: Program = draw(programs())
    world = script(
        program,
        cancel_at=draw(st.sampled_from([None, None, None, 0, 1, 3, 6])),
        stops=draw(st.booleans()),
        shift=draw(st.integers(0, 3)),
    )
    return Stage(interpret, interpret.signature.encode_payload(program), world)


random_examples = settings(
    max_examples=EXAMPLES,
    derandomize=False,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@random_examples
@given(worlds())
def test_a_body_built_again_at_any_place_decides_as_the_live_one_did(stage: Stage) -> None:
    stage.play()  # the twin of paranoid mode runs with it, and has to be silent
    assert stage.execution.ended is not None
    check_replays(stage)


@random_examples
@given(worlds(), st.data())
def test_a_run_taken_up_after_any_cut_ends_and_its_history_replays(
    stage: Stage, data: st.DataObject
) -> None:
    stage.play()
    places = facts_of(stage.events)[:-1]
    if not places:
        return
    other = stage.cut(data.draw(st.sampled_from(places))).play()
    assert other.execution.ended is not None
    assert_well_formed(other.events)
    whole = Stage(interpret, stage.payload)
    whole.execution, whole.events = other.execution, other.events
    assert_replays(whole)


def assert_replays(stage: Stage) -> None:
    """From nothing: the same end."""
    with rebuilt(stage, len(stage.events)) as (execution, _):
        assert execution.ended is not None
        assert stage.execution.ended is not None
        assert told([execution.ended]) == told([stage.execution.ended])


def assert_well_formed(events: list[Event]) -> None:
    """Facts are numbered 1..n; at most one end of an operation; nothing after the end."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    in_parts = {Kind.CHILD_STARTED, Kind.BATCH_STARTED, Kind.BATCH_ENDED}
    ends = [event.ordinal for event in events if event.kind in COMPLETIONS - in_parts]
    assert len(ends) == len(set(ends))
    places = [n for n, event in enumerate(events) if event.kind in CHAPTER_ENDS]
    assert places in ([], [len(events) - 1])
