"""Where writers of a SQLite file stand in line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.observing import until
from wf.history.sqlite_line import Line

LONG_S = 20.0
FIRST = """
import sys, time
from wf.history.sqlite_line import Line
line = Line(sys.argv[1])
line.wait(20)
print("first", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "line")


@pytest.fixture
def lines(path: str) -> Iterator[tuple[Line, Line, Line]]:
    lines = Line(path), Line(path), Line(path)
    yield lines
    for line in lines:
        line.close()


def goes_on(path: str, *, is_first: bool) -> bool:
    """Whether somebody who comes now is the first at once."""
    line = Line(path)
    line.wait(0)
    found = line.is_first
    line.leave()
    line.close()
    return found is is_first


def test_one_is_the_first_until_it_leaves(lines: tuple[Line, Line, Line], path: str) -> None:
    first, *_ = lines
    first.wait(LONG_S)
    assert first.is_first
    assert goes_on(path, is_first=False)
    first.leave()
    assert goes_on(path, is_first=True)


def test_who_waits_is_the_first_when_the_others_have_left(lines: tuple[Line, Line, Line]) -> None:
    first, second, third = lines
    first.wait(LONG_S)
    waiting = [Thread(target=line.wait, args=[LONG_S]) for line in (second, third)]
    for thread in waiting:
        thread.start()
    first.leave()
    until(lambda: second.is_first != third.is_first)
    (second if second.is_first else third).leave()
    for thread in waiting:
        thread.join(LONG_S)
    assert second.is_first != third.is_first


def test_who_has_waited_for_long_goes_on_and_keeps_nobody_up_later(
    lines: tuple[Line, Line, Line], path: str
) -> None:
    first, second, _ = lines
    first.wait(LONG_S)
    second.wait(0.01)
    assert not second.is_first
    second.leave()
    first.leave()
    until(lambda: goes_on(path, is_first=True))
    second.wait(LONG_S)
    assert second.is_first


def test_who_closes_is_the_first_no_more(lines: tuple[Line, Line, Line], path: str) -> None:
    first, *_ = lines
    first.wait(LONG_S)
    first.close()
    assert goes_on(path, is_first=True)


def test_who_is_killed_leaves(path: str) -> None:
    with subprocess.Popen([sys.executable, "-c", FIRST, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.send_signal(signal.SIGSTOP)
        assert goes_on(path, is_first=False)
        process.kill()
        process.wait(LONG_S)
    assert goes_on(path, is_first=True)


def test_a_child_made_by_fork_is_not_the_first(lines: tuple[Line, Line, Line], path: str) -> None:
    first, *_ = lines
    first.wait(LONG_S)
    child = os.fork()
    if child == 0:
        first.after_fork()
        os._exit(2 if first.is_first or not goes_on(path, is_first=False) else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert goes_on(path, is_first=False)
    first.leave()
    assert goes_on(path, is_first=True)
