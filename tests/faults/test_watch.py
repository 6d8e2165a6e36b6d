"""Bodies that block the thread of their worker."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

import wf
from tests.observing import until
from wf.client.asking import parse_id
from wf.client.handles import Handle
from wf.engine import watch
from wf.engine.settings import WorkerSettings
from wf.engine.watch import GIVE_UP_SECONDS, SAY_SECONDS, Interrupt, Stage, Watch, Watcher
from wf.history.errors import BodyBlocked
from wf.history.events import Kind
from wf.history.model import Run
from wf.history.open import open_store
from wf.history.store import Store

LEASE_MS = 2_000
GO_ON = threading.Event()
RUN = Run(b"run".ljust(16), "dev", "busy", b"null", 0)


@wf.step
async def add(value: int) -> int:
    return value + 1


@wf.task
async def computes() -> int:
    """Until the test lets it go on."""
    while not GO_ON.is_set():
        pass
    return await add(1)


@wf.task
async def waits_in_c() -> None:
    GO_ON.wait()


@wf.task
async def never_ends(how: str) -> None:
    await add(0)
    match how:
        case "loop":
            while True:
                pass
        case "gather":
            await asyncio.gather(*[_spin() for _ in range(2)])
        case _:
            try:
                await wf.wait.for_(days=1)
            finally:
                while True:
                    pass


async def _spin() -> None:
    while not GO_ON.is_set():
        pass


@wf.task
async def well(value: int) -> int:
    return await add(await add(value))


@contextmanager
def engine(store: Store, **settings: Any) -> Generator[wf.Engine]:
    made = WorkerSettings(environment="dev", poll_ms=50, **settings)
    running = wf.Engine(
        tasks=[add, computes, waits_in_c, never_ends, well], store=store, settings=made
    )
    running.start_now()
    try:
        yield running
    finally:
        running.stop_now(0)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    GO_ON.clear()
    yield store
    GO_ON.set()
    store.close()


# --- in an engine ---------------------------------------------------------------------------------


def test_a_body_that_computes_costs_no_lease(store: Store, url: str) -> None:
    with (
        closing(wf.Client(url)) as client,
        engine(store, lease_ms=LEASE_MS, blocked_ms=600_000),
        engine(store, lease_ms=LEASE_MS),
    ):
        handle = client.trigger(computes)
        until(lambda: handle.retrieve().status is wf.Status.EXECUTING)
        begun = store.now()
        until(lambda: store.now() > begun + 2 * LEASE_MS)
        GO_ON.set()
        assert handle.result(timeout=30) == 2
    kinds = [event.kind for _, event in store.history(wf_id(handle))]
    assert Kind.TAKEN not in kinds


@pytest.mark.parametrize("how", ["loop", "gather"])
def test_a_body_that_never_ends_is_interrupted_and_parked_alone(
    store: Store, url: str, how: str
) -> None:
    with closing(wf.Client(url)) as client, engine(store, blocked_ms=200) as running:
        bad = client.trigger(never_ends, how)
        healthy = [client.trigger(well, number) for number in range(5)]
        until(lambda: bad.retrieve().blocked is not None)
        blocked = bad.retrieve().blocked
        assert blocked is not None
        assert blocked.reason == "blocked"
        assert "WF1012" in blocked.detail
        assert "test_watch.py" in blocked.detail
        assert [one.result(timeout=30) for one in healthy] == [2, 3, 4, 5, 6]
        assert running.failure is None
        client.runs.cancel(bad.id)
        until(lambda: bad.retrieve().status is wf.Status.CANCELED)


def test_a_body_that_does_not_let_itself_be_dropped_is_interrupted(store: Store, url: str) -> None:
    with (
        closing(wf.Client(url)) as client,
        engine(store, blocked_ms=200, cache_size=0) as running,
    ):
        bad = client.trigger(never_ends, "finally")
        until(lambda: bad.retrieve().status is wf.Status.WAITING)
        assert client.trigger(well, 1).result(timeout=30) == 3
        assert running.failure is None


def test_an_engine_whose_thread_does_not_come_back_says_so_and_can_be_stopped(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GIVE_UP_SECONDS", 0.1)
    with closing(wf.Client(url)) as client, engine(store, blocked_ms=200) as running:
        client.trigger(waits_in_c)
        until(lambda: running.failure is not None)
        assert isinstance(running.failure, BodyBlocked)
        running.stop_now(0)
        assert "wf-worker" in {thread.name for thread in threading.enumerate()}
    GO_ON.set()
    until(lambda: "wf-worker" not in {thread.name for thread in threading.enumerate()})


def wf_id(handle: Handle[int]) -> bytes:
    return parse_id("run", handle.id)


# --- the watch itself -----------------------------------------------------------------------------


class Busy:
    """A thread in a body that does not come back by itself."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.watch = Watch()
        self.error: BaseException | None = None
        self.after: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(work,))
        self.thread.start()
        until(lambda: self.watch.run is not None)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self.error = self.watch.apply(RUN, work)
            for _ in range(10_000):
                pass
        except BaseException as error:
            self.after = error


def spin() -> None:
    while not GO_ON.is_set():
        pass


def wait() -> None:
    GO_ON.wait()


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    GO_ON.clear()
    yield
    GO_ON.set()


def test_it_is_told_of_once_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    busy, beaten = Busy(spin), [0]

    def beat() -> None:
        beaten[0] += 1

    watcher = Watcher(busy.watch, 1_000.0, beat)
    with caplog.at_level(logging.WARNING, "wf.worker"):
        for second in range(10):
            watcher.look(float(second))
    GO_ON.set()
    busy.thread.join()
    [record] = caplog.records
    assert "in spin" in record.getMessage()
    assert beaten == [10]
    assert (busy.error, watcher.stage) == (None, Stage.TOLD)
    watcher.look(11.0)
    assert watcher.stage is Stage.NONE


def test_it_is_interrupted_and_nothing_after_it_is() -> None:
    busy = Busy(spin)
    watcher = Watcher(busy.watch, 30.0, lambda: None)
    watcher.look(0.0)
    watcher.look(31.0)
    busy.thread.join()
    assert isinstance(busy.error, BodyBlocked)
    assert busy.after is None


def test_an_interrupt_that_comes_late_is_taken_back() -> None:
    """It was set while the thread was inside C code, from where it came back to its end."""
    for _ in range(200):
        GO_ON.clear()
        busy = Busy(GO_ON.wait)
        watcher = Watcher(busy.watch, 30.0, lambda: None)
        watcher.look(0.0)
        watcher.look(31.0)
        GO_ON.set()
        busy.thread.join()
        assert isinstance(busy.error, BodyBlocked)
        assert busy.after is None


def test_an_application_that_is_over_is_not_interrupted() -> None:
    """However the two fall together."""
    seen: list[BaseException | None] = []
    watched, stop = Watch(), threading.Event()

    def applies() -> None:
        try:
            while not stop.is_set():
                seen.append(watched.apply(RUN, lambda: None))
        except Interrupt as error:
            seen.append(error)

    thread = threading.Thread(target=applies)
    thread.start()
    for _ in range(3_000):
        watched.interrupt(watched.number, BodyBlocked("now"))
    stop.set()
    thread.join()
    assert not any(isinstance(one, Interrupt) for one in seen)


def test_one_that_does_not_come_back_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    busy, beaten = Busy(wait), [0]

    def beat() -> None:
        beaten[0] += 1

    watcher = Watcher(busy.watch, 30.0, beat)
    for second in (0.0, SAY_SECONDS, 30.0, 30.0 + GIVE_UP_SECONDS, 50.0):
        watcher.look(second)
    assert watcher.stage is Stage.GIVEN_UP
    assert beaten == [3]
    assert caplog.records[-1].levelno == logging.CRITICAL
    GO_ON.set()
    busy.thread.join()


def test_nobody_is_hurried_under_a_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, beaten = Busy(spin), [0]

    def beat() -> None:
        beaten[0] += 1

    watcher = Watcher(busy.watch, 30.0, beat)

    def stands(thread: int) -> bool:
        return True

    monkeypatch.setattr(watch, "stands_in_debugger", stands)
    for second in range(100):
        watcher.look(float(second))
    assert (watcher.stage, beaten) == (Stage.NONE, [100])
    GO_ON.set()
    busy.thread.join()
