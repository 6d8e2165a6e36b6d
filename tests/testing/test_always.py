"""`@wf.testing.always`: planted bugs are found, and nothing is found where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import wf
from tests.testing import planted, shop, versions
from tests.testing.planted import PAIRS
from wf.testing import Story

WITHIN = 200
"""Stories in which a bug must be found."""
STORIES = int(os.environ.get("WF_STORIES", "8"))
"""Told of each workflow without a bug: 200 and more where there is time."""
SEED = int(os.environ.get("WF_SEED", "3"))
"""With each of the seeds 0 to 7 every bug is found within 86 stories."""


def property_of(name: str, task: Any, **options: Any) -> Any:
    options |= {"real": True, "save": None, "seed": SEED, "bad": PAIRS[name].bad}
    return wf.testing.always(task, **options)(PAIRS[name].holds)


@pytest.mark.parametrize("name", PAIRS)
def test_a_planted_bug_is_found(name: str) -> None:
    test = property_of(name, PAIRS[name].bug, examples=WITHIN, shrink=False)
    with pytest.raises(AssertionError):
        test()
    assert test.told.examples <= WITHIN


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_is_found_without_the_bug(name: str) -> None:
    test = property_of(name, PAIRS[name].right, examples=STORIES)
    test()
    assert test.told.examples >= min(STORIES, 3)


def test_no_story_is_told_twice() -> None:
    told: list[tuple[Any, ...]] = []

    @wf.testing.always(planted.asks_two_and_pays_once, real=True, seed=SEED, save=None, examples=30)
    def test_it(story: Story) -> None:
        told.append(tuple(story.moves))

    test_it()
    assert len(told) == len(set(told)) == 30


def test_a_client_that_asks_again_has_the_same_run() -> None:
    again = 0

    @wf.testing.always(shop.pack, payload=st.just("x"), bad=["again"], examples=15, save=None)
    def test_it(story: Story) -> None:
        nonlocal again
        again += "the client triggers it again" in story.moves
        assert len(story.runs) == 1

    test_it()
    assert again


def test_the_shortest_bad_story_is_told_and_can_be_told_again(tmp_path: Path) -> None:
    @wf.testing.always(planted.retries_blindly, real=True, seed=SEED, save=tmp_path, bad=["lost"])
    def test_charged_once(story: Story) -> None:
        assert len(story.effects("charged")) <= 1

    with pytest.raises(AssertionError) as caught:
        test_charged_once()
    told, saved = caught.value.__notes__
    assert told.splitlines() == [
        "the story of retries-blindly(0)",
        "    1. +0ms      charge-without-key runs",
        "       +0ms          outside: charged 0",
        "    2. +0ms      the worker is lost, another one takes over",
        "    3. +0ms      charge-without-key runs",
        "       +0ms          outside: charged 0",
        "    4. +0ms      the result of charge-without-key arrives",
        "  it ends COMPLETED after 0ms: null",
        "to tell it again:",
        "    test_charged_once.retell(",
        "        0,",
        "        [",
        "            'charge-without-key runs',",
        "            'the worker is lost, another one takes over',",
        "            'charge-without-key runs',",
        "            'the result of charge-without-key arrives',",
        "        ],",
        "    )",
    ]
    with pytest.raises(AssertionError):
        test_charged_once.retell(
            0,
            [
                "charge-without-key runs",
                "the worker is lost, another one takes over",
                "charge-without-key runs",
            ],
        )
    with pytest.raises(AssertionError, match="takes another turn: 'ship runs' cannot be here"):
        test_charged_once.retell(0, ["ship runs"])
    assert "test_charged_once.db" in saved
    file = tmp_path / "test_charged_once.db"
    assert wf.testing.replay(file, planted).facts
    with pytest.raises(wf.NonDeterminism, match="WF1001"):
        wf.testing.replay(file, retries_blindly_no_more)


@wf.step
def look(cents: int) -> None: ...


@wf.task(id="retries-blindly")
async def retries_blindly_no_more(cents: int) -> None:
    await look(cents)


def test_a_deployment_that_parks_runs_is_found() -> None:
    def sell(*deployed: Any, examples: int = WITHIN) -> Any:
        given = wf.testing.always(
            versions.sells,
            versions=deployed,
            real=True,
            bad=["deployed", "lost"],
            examples=examples,
            shrink=False,
            seed=SEED,
            save=None,
        )
        return given(planted.nothing)

    with pytest.raises(AssertionError, match="sells is parked: WF1001"):
        sell(versions.sells_and_tells)()
    sell(versions.sells_and_tells_new_buyers, examples=STORIES * 2)()


def test_what_is_not_said_is_drawn_from_annotations() -> None:
    seen: list[Story] = []

    @wf.testing.always(shop.buy, examples=40, seed=SEED, save=None)
    def test_it(story: Story) -> None:
        seen.append(story)
        assert len(story.calls(shop.charge)) <= 1
        assert isinstance(story.payload, shop.Order)

    test_it()
    assert {"COMPLETED", "CANCELED"} <= {story.status for story in seen}
    assert len({story.payload.cents for story in seen}) > 3
    assert any("TAKEN" in [row.kind for row in story.history] for story in seen)


async def packed(copy: str) -> str:
    return f"{copy} packed"


def test_fakes_strategies_failures_and_messages_are_given() -> None:
    seen: list[Story] = []

    @wf.testing.always(
        shop.listen,
        payload=st.just("hello"),
        messages={"hello": st.sampled_from(["Ann", "Bob"])},
        bad=["again"],
        examples=20,
        seed=SEED,
        save=None,
    )
    def test_it(story: Story) -> None:
        seen.append(story)
        assert story.output in (None, "hello Ann", "hello Bob")

    test_it()
    assert {True, False} == {story.ended for story in seen}

    @wf.testing.always(
        shop.buy,
        payload=st.just(shop.Order("Emma", 5)),
        replace={shop.reserve: st.just("x"), "pack": packed},
        failures={shop.charge: [ConnectionError("no line")]},
        bad=["fails"],
        examples=30,
        seed=SEED,
        save=None,
    )
    def test_that(story: Story) -> None:
        seen.append(story)
        assert story.output in (None, "x packed")

    test_that()
    kinds = {row.data["type"] for story in seen for row in story.history if "FAILED" in row.kind}
    assert "ConnectionError" in kinds


def test_what_does_not_replay_is_found_where_nothing_goes_wrong() -> None:
    @wf.testing.always(planted.reads_the_clock, real=True, bad=[], examples=3, save=None)
    def test_it(story: Story) -> None: ...

    with pytest.raises(AssertionError, match="a history does not replay"):
        test_it()
