"""Hints on SQLite: within a process, across processes, and never in the way."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wf.history.model import NewRun
from wf.history.open import open_store
from wf.history.store import Store
from wf.history.wakeups import MAX_SOCKET_PATH, Wakeups, meeting_place

WAIT_S = 30.0
TRIGGER = """
import sys
from wf.history.open import open_store
from wf.history.model import NewRun
store = open_store(sys.argv[1])
store.trigger([NewRun(b"1" * 16, "dev", "t", b"null", created_at=1)])
store.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "wf.db"
    yield path
    place = meeting_place(path)
    if place.is_dir():
        assert list(place.iterdir()) == [], "a closed store leaves no socket behind"
        place.rmdir()


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(str(path))
    yield store
    store.close()


def run(number: int = 1) -> NewRun:
    return NewRun(bytes([number]) * 16, "dev", "t", b"null", created_at=1)


def test_a_listener_is_woken_by_its_own_store(store: Store) -> None:
    woken = threading.Event()
    store.listen(woken.set)
    store.trigger([run()])
    assert woken.is_set()


def test_a_repeated_trigger_wakes_nobody(store: Store) -> None:
    store.trigger([run()])
    woken = threading.Event()
    store.listen(woken.set)
    store.trigger([run()])
    assert not woken.is_set()


def test_a_listener_is_woken_by_another_store_of_the_process(store: Store, path: Path) -> None:
    other = open_store(str(path))
    woken = threading.Event()
    other.listen(woken.set)
    store.trigger([run()])
    assert woken.wait(WAIT_S)
    other.close()


def test_a_listener_is_woken_by_another_process(store: Store, path: Path) -> None:
    woken = threading.Event()
    store.listen(woken.set)
    subprocess.run([sys.executable, "-c", TRIGGER, str(path)], check=True)
    assert woken.wait(WAIT_S)


def test_a_listener_that_stopped_is_not_woken(store: Store) -> None:
    stopped, woken = threading.Event(), threading.Event()
    stop = store.listen(stopped.set)
    store.listen(woken.set)
    stop()
    stop()
    store.trigger([run()])
    assert woken.is_set()
    assert not stopped.is_set()


def test_listening_again_after_all_have_stopped(store: Store, path: Path) -> None:
    store.listen(lambda: None)()
    woken = threading.Event()
    store.listen(woken.set)
    subprocess.run([sys.executable, "-c", TRIGGER, str(path)], check=True)
    assert woken.wait(WAIT_S)


def test_a_listener_that_fails_does_not_fail_the_commit(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    woken = threading.Event()
    store.listen(fail)
    store.listen(woken.set)
    with caplog.at_level(logging.ERROR, logger="wf.history"):
        store.trigger([run()])
    assert woken.is_set()
    assert store.get_runs([run().id])
    assert "a listener failed" in caplog.text


def test_hints_that_nobody_reads_are_no_hindrance(path: Path) -> None:
    sleeper, sender = Wakeups(path), Wakeups(path)
    reading, may_read = threading.Event(), threading.Event()

    def block() -> None:
        reading.set()
        may_read.wait(WAIT_S)

    sleeper.listen(block)
    for _ in range(2_000):
        sender.hint()
    assert reading.wait(WAIT_S)
    may_read.set()
    sleeper.close()
    sender.close()


def test_the_socket_of_a_dead_process_is_removed(store: Store, path: Path) -> None:
    place = meeting_place(path)
    place.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.bind(str(place / "dead.s"))
    left.close()
    store.trigger([run()])
    assert list(place.iterdir()) == []


def test_a_meeting_place_that_is_open_to_others_is_not_used(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = meeting_place(path)
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    woken = threading.Event()
    with caplog.at_level(logging.WARNING, logger="wf.history"):
        store.listen(woken.set)
    assert "polls instead" in caplog.text
    store.trigger([run()])
    assert woken.is_set()


def test_one_file_has_one_meeting_place_with_a_short_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(deep)
    assert meeting_place(deep / "wf.db") == meeting_place(link / "wf.db")
    assert len(str(meeting_place(deep / "wf.db") / "0123456789ab.s")) <= MAX_SOCKET_PATH
