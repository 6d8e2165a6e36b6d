"""What is under a debugger is not hurried, and not run twice."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import wf

ONCE = wf.Retry(max_attempts=1)


@wf.step(timeout="200ms", retry=ONCE)
def looks(stands: bool) -> str:
    if stands:
        breakpoint()  # noqa: T100
    else:
        Event().wait(0.5)
    return "went on"


@wf.step(timeout="200ms", retry=ONCE)
async def looks_async(stands: bool) -> str:
    if stands:
        breakpoint()  # noqa: T100
        await asyncio.sleep(0.05)
    else:
        await asyncio.sleep(3_600)
    return "went on"


@wf.step(timeout="200ms", retry=ONCE)
async def beside() -> str:
    """On the loop that stands still meanwhile."""
    await asyncio.sleep(0.1)
    return "went on"


@wf.task
async def looking(stands: bool) -> list[str]:
    found = await asyncio.gather(
        looks(stands), looks_async(stands), beside(), return_exceptions=True
    )
    return [one if isinstance(one, str) else type(one).__name__ for one in found]


@pytest.fixture
def someone_looks() -> Iterator[None]:
    """A debugger that is told to go on after half a second."""

    def stand() -> None:
        Event().wait(0.5)

    before = sys.breakpointhook
    sys.breakpointhook = stand
    yield
    sys.breakpointhook = before


@pytest.mark.usefixtures("someone_looks")
def test_a_timeout_does_not_count_what_was_spent_in_a_debugger(tmp_path: Path) -> None:
    assert wf.run(looking, True, database=f"{tmp_path}/wf.db") == ["went on"] * 3


def test_without_one_it_does(tmp_path: Path) -> None:
    found = wf.run(looking, False, database=f"{tmp_path}/wf.db")
    assert found == ["StepTimedOut", "StepTimedOut", "went on"]


TURNS = count()


@wf.step
def turned(turn: int) -> str:
    return "went on"


@wf.task
async def unsteady() -> str:
    """Another one each time, as a second body would find out."""
    return await turned(next(TURNS))


def test_no_second_body_runs_where_a_debugger_is_attached(tmp_path: Path) -> None:
    """Its breakpoints would stop twice."""

    def follow(frame: Any, event: str, argument: object) -> None:
        return None

    before = threading.gettrace()
    threading.settrace(follow)
    try:
        assert wf.run(unsteady, database=f"{tmp_path}/wf.db") == "went on"
    finally:
        threading.settrace(before)  # pyright: ignore[reportArgumentType] # None: there is none
