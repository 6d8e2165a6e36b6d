"""Config: `init` (S58), and what a project puts around bodies and steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.observing import ended, until
from tests.observing import wf as command

SEEN: list[str] = []
LOOPS: list[Any] = []


@wf.step(retry=wf.Retry(max_attempts=2, min_delay="1ms"))
async def weak(value: int) -> int:
    LOOPS.append(asyncio.get_running_loop())
    SEEN.append("weak")
    step = wf.current().step
    if step is not None and step.attempt == 1:
        raise ConnectionError("down")
    return value


@wf.step
def strong(value: int) -> int:
    SEEN.append("strong")
    return value


@wf.task
async def work() -> int:
    SEEN.append("work")
    return await weak(1) + await strong(1)


@wf.task
async def waits() -> str:
    await wf.wait.for_message("go")
    return "done"


TASKS = [weak, strong, work, waits]


def place(context: wf.Context) -> str:
    return context.step.id if context.step is not None else context.task.id


@pytest.fixture(autouse=True)
def _fresh() -> None:
    SEEN.clear()
    LOOPS.clear()


# --- S58: init ------------------------------------------------------------------------------------


async def test_s58_init_runs_once_in_a_worker_before_its_first_run(database: str) -> None:
    def connect() -> None:
        SEEN.append("init")

    async def open_pool() -> None:
        SEEN.append("pool")
        LOOPS.append(asyncio.get_running_loop())

    @wf.task(init=connect)
    async def beside() -> None: ...

    config = wf.Config(init=[open_pool, connect])
    async with wf.Engine(database, [*TASKS, beside], config=config):
        for _ in range(3):
            assert await work.trigger_and_wait() == 2
        await beside()
    assert SEEN[:2] == ["pool", "init"]
    assert Counter(SEEN)["pool"] == Counter(SEEN)["init"] == 1
    assert len(set(LOOPS)) == 1, "what it made can be used by async steps"


PROJECT = {
    "wf_config.py": """import os
import wf

def init():
    with open("ledger", "a") as ledger:
        ledger.write(f"{os.getpid()}\\n")
    if os.path.exists("broken"):
        raise ConnectionError("no database")

config = wf.Config(init=init)
""",
    "tasks/sample.py": """import wf

@wf.task
async def sample() -> int:
    return len(open("ledger").readlines())
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_an_init_that_fails_stops_the_worker_with_one_line(project: Path, database: str) -> None:
    assert command("run", "sample", database=database, cwd=project).stdout == "1\n"
    (project / "broken").touch()
    for words in (["worker"], ["run", "sample"]):
        ran = command(*words, database=database, cwd=project)
        assert ran.returncode == 1
        line = ran.stderr.splitlines()[-1]
        assert line.startswith("wf: init (init, ")
        assert "wf_config.py:8) failed" in line
        assert "ConnectionError: no database" in line
        assert "Traceback" not in ran.stderr
    with wf.Client(database) as client:
        assert [run.status for run in client.runs.list()].count(wf.Status.COMPLETED) == 1


async def test_an_engine_whose_init_fails_does_not_start(database: str) -> None:
    async def refuse() -> None:
        raise ConnectionError("no database")

    with pytest.raises(wf.InitFailed, match="ConnectionError: no database"):
        async with wf.Engine(database, TASKS, config=wf.Config(init=refuse)):
            pass


# --- middleware -----------------------------------------------------------------------------------


@contextmanager
def outer(context: wf.Context) -> Generator[None]:
    SEEN.append(f"> {place(context)}")
    try:
        yield
    finally:
        SEEN.append(f"< {place(context)}")


@asynccontextmanager
async def inner_of_it() -> AsyncGenerator[None]:
    await asyncio.sleep(0)
    SEEN.append(">>")
    yield
    SEEN.append("<<")


def inner(context: wf.Context) -> Any:
    return None if place(context) == "strong" else inner_of_it()


async def test_middleware_is_around_a_body_and_each_attempt_of_a_step(database: str) -> None:
    config = wf.Config(middleware=[outer, inner])
    async with wf.Engine(database, TASKS, config=config):
        assert await work.trigger_and_wait() == 2
    first, second = [">>", "weak"], [">>", "weak", "<<"]
    steps = ["> weak", *first, "< weak", "> weak", *second, "< weak"]
    steps += ["> strong", "strong", "< strong"]
    assert [*SEEN] == ["> work", ">>", "work", *steps, "<<", "< work"]


async def test_it_is_entered_anew_with_each_replay(database: str) -> None:
    replays: list[bool] = []

    @contextmanager
    def looks(context: wf.Context) -> Generator[None]:
        replays.append(context.run.is_replay)
        yield

    config = wf.Config(middleware=[looks])
    with wf.Client(database) as client:
        run = client.trigger(waits)
        async with wf.Engine(database, TASKS, config=config):
            until(lambda: client.runs.retrieve(run.id).status is wf.Status.WAITING)
        run.send("go")
        async with wf.Engine(database, TASKS, config=config):
            assert ended(client, run.id).output == "done"
    assert replays == [False, True]


async def test_it_may_turn_an_error_into_another(database: str) -> None:
    @contextmanager
    def translate(context: wf.Context) -> Generator[None]:
        try:
            yield
        except ConnectionError as error:
            raise wf.Abort("the vendor is gone") from error

    async with wf.Engine(database, TASKS, config=wf.Config(middleware=[translate])):
        with pytest.raises(wf.RunFailed, match="the vendor is gone"):
            await work.trigger_and_wait()
    assert SEEN == ["work", "weak"], "no second attempt"


async def test_an_async_one_around_a_sync_step_is_refused(database: str) -> None:
    config = wf.Config(
        middleware=[lambda _: inner_of_it()], retries=wf.Retries(wf.Retry(max_attempts=1))
    )
    async with wf.Engine(database, TASKS, config=config):
        with pytest.raises(wf.RunFailed, match="strong, a sync step: answer a sync one, or None"):
            await strong.trigger_and_wait(1)


async def test_it_surrounds_hooks_as_the_steps_that_they_are(database: str) -> None:
    def told(event: wf.Succeeded[int]) -> None:
        SEEN.append("told")

    config = wf.Config(middleware=[outer], on_success=told)
    async with wf.Engine(database, TASKS, config=config):
        run = await strong.trigger(1)
        until(lambda: [one.status.ended for one in wf.client().runs.hooks(run.id)] == [True])
    assert SEEN == ["> strong", "strong", "< strong", "> told", "told", "< told"]


def test_what_is_no_list_of_functions_is_refused() -> None:
    for wrong in (outer, "outer", [3]):
        with pytest.raises(wf.DeclarationError, match="middleware="):
            wf.Config(middleware=wrong)  # type: ignore[arg-type]
