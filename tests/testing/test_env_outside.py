"""`wf_env` and what is around it: schedules, a config, sockets, a running loop, other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

import wf
from tests.testing.shop import Order, buy, listen, pack, reserve
from wf.client.views import TokenView

MORNINGS: list[datetime] = []
ENDS: list[str] = []


@wf.schedules.task(cron="0 9 * * *", timezone="Europe/Berlin")
async def every_morning(tick: wf.ScheduleTick) -> None:
    await greet(tick.timestamp)


@wf.step
async def greet(at: datetime) -> None:
    MORNINGS.append(at)


def test_schedules_fire_as_time_moves() -> None:
    MORNINGS.clear()
    begin = datetime(2026, 3, 27, 12, tzinfo=UTC)
    with wf.testing.Env([every_morning], schedules=True, now=begin) as env:
        env.advance(days=3)
        assert env.now() == datetime(2026, 3, 30, 12, tzinfo=UTC)
    assert [at.astimezone(UTC).strftime("%d %H") for at in MORNINGS] == ["28 08", "29 07", "30 07"]


def test_without_being_asked_schedules_stand_still() -> None:
    with wf.testing.Env([every_morning]) as env:
        env.advance(days=3)
        assert env.runs == []


def note_end(event: wf.Completed[Any]) -> None:
    ENDS.append(event.ctx.task.id)


def test_hooks_and_policies_of_a_config_hold() -> None:
    ENDS.clear()
    once = wf.Retries(default=wf.Retry(max_attempts=1))
    with wf.testing.Env(config=wf.Config(on_complete=note_end, retries=once)) as env:
        env.replace(reserve, raises=ConnectionError("no line"))
        with pytest.raises(wf.RunFailed):
            env.run(buy, Order("Emma", 900))
        env.settle()
        assert len(env.attempts(reserve)) == 1
    assert ENDS == ["buy"]


def test_a_function_answers_tokens(wf_env: wf.testing.Env) -> None:
    asked: list[TokenView] = []

    def answer(token: TokenView) -> bool:
        asked.append(token)
        return token.run == wf_env.runs[0].id

    wf_env.on_token(answer)
    assert wf_env.run(buy, Order("Emma", 20_000)) == "copy of Emma is on its way"
    assert [token.tags for token in asked] == [("approval",)]


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that says everything louder, after a while."""
    with create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@wf.step
async def call(port: int) -> str:
    await asyncio.sleep(3600)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    heard = await reader.read()
    writer.close()
    return heard.decode()


@wf.task
async def calls(port: int) -> str:
    return await call(port)


def test_async_steps_have_real_sockets_in_virtual_time(wf_env: wf.testing.Env, port: int) -> None:
    began = wf_env.now()
    assert wf_env.run(calls, port) == "HELLO"
    assert (wf_env.now() - began).total_seconds() == 3600


def test_in_a_notebook_a_loop_runs_already() -> None:
    """A cell is a coroutine, and the next one is another."""

    async def notebook() -> str:
        env = wf.testing.Env()
        with env:
            run = env.start(listen, "hello")
            await asyncio.sleep(0)
            run.send("hello", "Ada")
            assert asyncio.current_task() is not None
            assert env.run(pack, "x") == "x is on its way"
            return await asyncio.create_task(asyncio.to_thread(str, run.output))

    assert asyncio.run(notebook()) == "hello Ada"


PROJECT = """
import os, pathlib, pytest, wf

@wf.step
async def greet(name: str) -> str:
    return f"hello {name}"

@wf.task
async def later(name: str) -> str:
    await wf.wait.for_(days=1)
    return await greet(name)

@pytest.mark.parametrize("name", ["ann", "bob"])
def test_later(wf_env, name):
    assert wf_env.run(later, name) == f"hello {name}"
    assert len(wf_env.runs) == 1
    assert len(wf_env.attempts(greet)) == 2
    pathlib.Path(os.environ["PYTEST_XDIST_WORKER"]).touch()

@wf.testing.crash_everywhere(pairs=False)
def test_everywhere(wf_env):
    assert wf_env.run(later, "eve") == "hello eve"
"""


def test_in_a_project_of_somebody_tests_run_in_parallel(tmp_path: Path) -> None:
    (tmp_path / "test_later.py").write_text(PROJECT)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--wf-crash"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert {one.name for one in tmp_path.glob("gw*")} == {"gw0", "gw1"}
