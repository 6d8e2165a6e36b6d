"""A body that does not fit its history any more: what the person who deployed it is told."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import Stage
from wf.engine import author
from wf.engine.core.decisions import Patched, RunStep
from wf.engine.core.replay import replay
from wf.engine.core.runnable import Runnable, step, task
from wf.engine.core.waits import wait
from wf.history.errors import NonDeterminism
from wf.history.events import Kind


@step
async def a(n: int) -> int:
    return n


@step
async def b(n: int) -> int:
    return n


@step
async def c(n: int) -> int:
    return n


@step(id="c")
async def c_of_another_name(n: int) -> int:
    return n


@step
async def renamed(n: int) -> int:
    return n


@task(id="edited")
async def old() -> None:
    await a(1)
    await b(2)
    await c(3)
    await wait.for_(days=1)
    await a(4)
    await b(5)


def history_of(body: Runnable[[], Any]) -> Stage:
    return Stage(body).play()


def mismatch(new: Runnable[[], Any], before: Runnable[[], Any] = old) -> str:
    """The message of the code `new` on the history of `before`."""
    stage = history_of(before)
    with pytest.raises(NonDeterminism) as caught:
        replay(new, stage.run, stage.events)
    error = caught.value
    assert error.code == "WF1001"
    assert error.diff in str(error)
    assert str(error).startswith(f"WF1001 {stage.run.task} run_")
    assert re.search(r"next: .*wf\.patched.*`wf runs show run_\w+`", str(error))
    return str(error)


def line_of(message: str) -> str:
    found = re.search(r"  at (.*)", message)
    assert found is not None
    file, _, number = found[1].rpartition(":")
    with open(file) as source:  # noqa: PTH123
        return source.read().splitlines()[int(number) - 1].strip()


def test_inserted() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await b(2)
        await renamed(33)
        await c(3)

    message = mismatch(new)
    assert "at operation 3: inserted" in message
    assert "likely: `step renamed` was added before `step c`" in message
    assert line_of(message) == "await renamed(33)"


def test_removed() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await c(3)

    message = mismatch(new)
    assert "at operation 2: removed" in message
    assert "`step b` was taken out" in message
    assert line_of(message) == "await c(3)"


def test_removed_at_the_end() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await b(2)
        await c(3)
        await wait.for_(days=1)
        await a(4)

    message = mismatch(new)
    assert "at operation 6: removed" in message
    assert "-    6  step b" in message


def test_reordered() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await c(3)
        await b(2)

    assert "at operation 2: removed or reordered" in mismatch(new)

    @task(id="edited")
    async def later() -> None:
        await wait.for_(days=1)

    assert "at operation 1: reordered" in mismatch(later)


def test_renamed() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await renamed(2)

    message = mismatch(new)
    assert "at operation 2: renamed" in message
    assert "`b` is `renamed` now; keep the old id: id='b'" in message


def test_a_step_whose_function_is_renamed_under_its_old_id_fits() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await b(2)
        await c_of_another_name(3)
        await wait.for_(days=1)
        await a(4)
        await b(5)

    stage = history_of(old)
    replay(new, stage.run, stage.events)[0].close()


def test_argument_changed() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await b(20)

    message = mismatch(new)
    assert "at operation 2: argument changed" in message
    digests = re.findall(r"step b with arguments #([0-9a-f]{16})", message)
    assert len(set(digests)) == 2
    assert "a clock, chance or the environment" in message

    @task(id="edited")
    async def waits_longer() -> None:
        await a(1)
        await b(2)
        await c(3)
        await wait.for_(days=2)

    message = mismatch(waits_longer)
    assert "-    4  timer of 86400000 ms" in message
    assert "+    4  timer of 172800000 ms" in message


def test_another_kind_of_operation() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await asyncio.sleep(5)

    message = mismatch(new)
    assert "-    2  step b" in message
    assert "+    2  timer" in message


def test_three_operations_either_side_are_shown_aligned_with_time_and_place() -> None:
    @task(id="edited")
    async def new() -> None:
        await a(1)
        await b(2)
        await c(3)
        await a(99)

    @task(id="edited")
    async def long() -> None:
        await a(1)
        await b(2)
        await c(3)
        for n in (4, 5, 6, 7, 8):
            await b(n)

    message = mismatch(new, long)
    context = [line for line in message.splitlines() if re.match(r"  [ +-] +\d+  ", line)]
    assert [re.sub(r"\(.*", "(…)", line) for line in context] == [
        "       1  step a",
        "       2  step b",
        "       3  step c",
        "  -    4  step b  (…)",
        "  +    4  step a  (…)",
        "       5  step b",
        "       6  step b",
        "       7  step b",
    ]
    assert "(recorded 2023-11-14T22:13:20+00:00)" in message
    assert re.search(r"\+    4  step a  \(.*test_mismatch\.py:\d+\)", message)


def test_children_and_tokens_are_compared_too() -> None:
    @task
    async def child(n: int) -> None: ...

    @task(id="edited")
    async def before() -> None:
        await child.trigger(1)
        token = await wait.create_token(timeout="1d")
        await wait.for_token(token)

    @task(id="edited")
    async def another_child() -> None:
        await child.trigger(2)

    @task(id="edited")
    async def another_token() -> None:
        await child.trigger(1)
        await wait.create_token(timeout="2d")

    assert "at operation 1: argument changed" in mismatch(another_child, before)
    assert "at operation 2: argument changed" in mismatch(another_token, before)


def test_a_body_that_swallows_everything_does_not_hide_the_mismatch() -> None:
    @task(id="edited")
    async def new() -> None:
        while True:
            try:
                await c(1)
            except BaseException:  # noqa: S112
                continue

    assert "at operation 1" in mismatch(new)


def test_nothing_of_a_mismatch_is_decided_or_recorded() -> None:
    @task(id="edited")
    async def new() -> None:
        await c(1)

    stage = history_of(old)
    kept = list(stage.events)
    with pytest.raises(NonDeterminism):
        replay(new, stage.run, stage.events)
    assert stage.events == kept


# --- wf.patched ---------------------------------------------------------------------------------


@task(id="edited")
async def patched() -> str:
    await a(1)
    if author.patched("no-b"):
        await c(20)
    else:
        await b(2)
    again = author.patched("no-b")
    await wait.for_(days=1)
    return f"{again}"


@task(id="edited")
async def unpatched() -> str:
    await a(1)
    await b(2)
    await wait.for_(days=1)
    return "old"


def test_patched_is_true_and_marked_in_runs_that_have_not_passed_it() -> None:
    stage = Stage(patched).play()
    assert (stage.output, stage.calls) == ("True", ["a", "c"])
    assert [event.name for event in stage.events if event.kind == Kind.PATCHED] == ["no-b"]
    assert sum(isinstance(one, Patched) for ds in stage.decisions for one in ds) == 1


def test_patched_is_false_in_runs_that_have_passed_it_and_stays_so() -> None:
    before = Stage(unpatched).play()
    passed = before.events[:3]
    assert [event.name for event in passed[1:]] == ["a", "b"]
    other = Stage(unpatched).play().cut(3)
    other = adopt(patched, other)
    assert other.play().output == "False"


def test_a_step_of_the_old_code_that_was_in_flight_has_left_no_row_so_the_new_path_is_taken() -> (
    None
):
    """Both effects can have happened: the documentation of `patched` says so."""
    before = Stage(unpatched).start()
    before.advance()
    assert before.calls == ["a", "b"]
    other = adopt(patched, before.cut(2))
    assert other.play().output == "True"
    assert other.calls[-1] == "c"


def adopt(body: Runnable[[], Any], stage: Stage) -> Stage:
    """The same history under other code."""
    other = Stage(body, script=Script(token=lambda n, tags: Answer()))
    other.run, other.events = stage.run, stage.events
    return other.cut(len(stage.events))


def test_an_operation_beyond_the_history_is_new_work() -> None:
    stage = Stage(old).play()
    with_less = replay(old, stage.run, stage.events[:2])
    assert [type(one) for one in with_less[1]] == [RunStep]
    with_less[0].close()
