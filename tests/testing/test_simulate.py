"""`wf.testing.simulate`: users' tasks in the engine's own simulation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st

import wf
from tests.testing import planted, shop
from tests.testing.planted import PAIRS
from wf.testing import Story, effect, simulate

SEEDS = int(os.environ.get("WF_TEST_SEEDS", "1"))
"""Of each workflow without a bug."""


def test_tasks_that_are_right_stand_the_storm() -> None:
    seen: list[Story] = []

    def holds(story: Story) -> None:
        seen.append(story)
        planted.charged_once(story)

    told = simulate(
        [planted.retries_with_a_key, planted.asks_two_and_pays_once], 3, real=True, holds=holds
    )
    assert told.seeds == 3
    assert told.runs.total() == len(seen) > 10
    assert len(told.faults) >= 5
    assert {"COMPLETED", "CANCELED"} <= set(told.runs)
    assert any(row.kind == "TAKEN" for story in seen for row in story.history)
    assert any(story.effects("charged") for story in seen)


def test_a_seed_that_fails_is_told_and_is_the_same_again() -> None:
    told = notes(planted.retries_blindly, planted.charged_once, 5)
    seed = int(told.rsplit("[", 1)[1].strip().rstrip("]"))
    lines = told.splitlines()
    assert lines[0].startswith("the story of retries-blindly(")
    assert sum("outside: charged" in line for line in lines) >= 2
    assert notes(planted.retries_blindly, planted.charged_once, [seed]) == told


def notes(task: Any, holds: Any, seeds: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        simulate(task, seeds, real=True, holds=holds)
    return "\n".join(caught.value.__notes__)


def bad_story(task: Any, holds: Any) -> str:
    """Found by `always`: what is told of it."""
    test: Any = wf.testing.always(task, real=True, save=None, seed=3, shrink=False)(holds)
    with pytest.raises(AssertionError) as caught:
        test()
    return "\n".join(caught.value.__notes__)


AGAIN = """
import ast, json, sys
import wf
from tests.testing import planted
from tests.testing.test_simulate import notes
simulated, *stories = json.load(sys.stdin)
again = [notes(planted.races_badly, planted.not_both, [int(simulated)])]
for task, holds, told in stories:
    payload, moves = ast.literal_eval("(" + told.split("retell(")[1])
    seen = []
    wf.testing.always(getattr(planted, task), real=True)(seen.append).retell(payload, moves)
    again += map(repr, seen)
json.dump(again, sys.stdout)
"""


def test_other_hash_seeds_tell_the_same_stories() -> None:
    simulated = notes(planted.races_badly, planted.not_both, 20)
    seed = simulated.rsplit("[", 1)[1].strip().rstrip("]")
    stories = [
        ("races_badly", "not_both", bad_story(planted.races_badly, planted.not_both)),
        ("asks_two_and_pays_for_each", "charged_once", bad_story(
            planted.asks_two_and_pays_for_each, planted.charged_once)),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", AGAIN],
        env=os.environ | {"PYTHONHASHSEED": "4242"},
        input=json.dumps([seed, *stories]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again, *told = json.loads(done.stdout)
    assert again == simulated
    for (_, holds, before), after in zip(stories, told, strict=True):
        assert after.replace("append.retell(", f"{holds}.retell(") == before


BUGS = sorted(set(PAIRS) - {"the order of a set", "a cancel during the release"})
"""A process has one order of a set: `wf check` knows that one. A cancel comes in the very moment of
a release in one seed of sixty: `always` finds that one."""


def trouble(name: str) -> list[str]:
    return [*PAIRS[name].bad, "jumps"]


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_within_some_seeds(name: str) -> None:
    with pytest.raises(AssertionError):
        simulate(PAIRS[name].bug, 40, real=True, bad=trouble(name), holds=PAIRS[name].holds)


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_is_found_without_the_bug(name: str) -> None:
    told = simulate(
        PAIRS[name].right, SEEDS, real=True, bad=trouble(name), holds=PAIRS[name].holds, moves=150
    )
    assert told.seeds == SEEDS


@pytest.mark.parametrize(
    ("task", "what"),
    [
        (planted.charges_outside, "a body does 'charged' itself"),
        (planted.reads_the_clock, "WF1001"),
    ],
)
def test_bodies_that_are_not_deterministic_are_found(task: Any, what: str) -> None:
    with pytest.raises(AssertionError, match=what) as caught:
        simulate(task, 3, real=True)
    assert caught.value.__notes__[0].endswith("seeds=[0]")


def test_what_is_not_said_is_drawn_from_annotations() -> None:
    seen: list[Story] = []
    told = simulate(
        [shop.buy, shop.listen],
        4,
        payload={shop.listen: st.sampled_from(["hello", "bye"])},
        replace={shop.pack: st.just("packed"), "reserve": str.upper},
        failures={shop.charge: [ConnectionError("no line")]},
        messages={"hello": st.sampled_from(["Ann", "Bob"])},
        bad=["fails"],
        holds=seen.append,
    )
    assert not told.faults
    assert {story.payload for story in seen if story.task == "listen"} == {"hello", "bye"}
    outputs = [story.output for story in seen if story.task == "listen"]
    assert {"hello Ann", "hello Bob"} & set(outputs)
    assert len({story.payload["cents"] for story in seen if story.task == "buy"}) > 3
    assert "packed" in [story.output for story in seen]
    failures = [row.data["type"] for s in seen for row in s.history if "FAILED" in row.kind]
    assert "ConnectionError" in failures


def test_steps_trigger_and_time_passes_as_everywhere() -> None:
    simulate(starts_others, 2, real=True, bad=["lost", "taken"], holds=ends_within_a_day)


@wf.step
async def start(number: int) -> str:
    return (await planted.retries_with_a_key.trigger(number)).id


@wf.task
async def starts_others() -> str:
    await wf.wait.for_(hours=20)
    return await start(5)


def ends_within_a_day(story: Story) -> None:
    assert story.status == "COMPLETED"
    assert 20 <= story.took.total_seconds() / 3600 < 21
    assert [life.view.task for life in story.runs] == ["starts-others", "retries-with-a-key"]


def key() -> str:
    step = wf.current().step
    assert step is not None
    return step.idempotency_key


@wf.step
async def book(number: int) -> int:
    async with wf.transaction():
        await asyncio.sleep(2)
        effect("booked", number, key=key())
    return number


@wf.step(at_most_once=True)
async def once() -> None:
    effect("once")


async def tell(event: wf.Completed[Any]) -> None:
    effect("told", key=event.ctx.run.id)


@wf.task(queue=wf.Queue("narrow", concurrency_limit=1), on_complete=tell)
async def child(number: int) -> int:
    await asyncio.sleep(30)
    return await book(number)


@wf.task
async def family(rounds: int) -> int:
    with contextlib.suppress(wf.StepFailed):
        await once()
    await child.batch_trigger_and_wait([1, 2], return_exceptions=True)
    with contextlib.suppress(wf.MessageTimedOut):
        await wf.wait.for_message("go", int, timeout="2d")
    if rounds:
        await wf.restart(rounds - 1)
    return rounds


def test_all_that_a_task_may_have_is_simulated() -> None:
    """A step's own transaction, a queue, hooks, batches, messages, restarts."""
    told: Counter[str] = Counter()

    def holds(story: Story) -> None:
        told.update(one.what for life in ("booked", "told") for one in story.effects(life))
        restarts = sum(row.kind == "RESTARTED" for row in story.history)
        assert len(story.effects("once")) <= restarts + 1
        if story.status == "COMPLETED":
            assert len(story.effects("told")) == 2 * (story.payload + 1)

    simulate(family, [0], payload=st.integers(0, 1), real=True, holds=holds, moves=150)
    assert min(told["booked"], told["told"]) > 3


def test_a_trouble_that_there_is_not_is_refused() -> None:
    with pytest.raises(wf.DeclarationError, match=r"bad=\['late'\] is not known"):
        simulate(shop.pack, bad=["late"])
