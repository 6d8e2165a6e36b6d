"""Steps in processes of their own, and in executors that the engine was given."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.engine import away_tasks as tasks
from tests.observing import until
from tests.observing import wf as command
from wf.engine.registry import Registry
from wf.engine.settings import WorkerSettings

OF_PROCESSES = [one for one in Registry([tasks]) if one.settings.executor != "cluster"]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """One store is enough: executors know none."""
    return f"sqlite:///{tmp_path}/wf.db"


def engine(database: str, grace_ms: int = 100) -> wf.Engine:
    return wf.Engine(database, OF_PROCESSES, settings=WorkerSettings(grace_ms=grace_ms))


async def test_steps_sync_and_async_run_in_processes(database: str) -> None:
    async with engine(database):
        assert await tasks.doubles.trigger_and_wait(21) == [42, 42]


async def test_a_function_that_is_wrapped_is_found_by_where_it_stands(database: str) -> None:
    async with engine(database):
        assert await tasks.wraps.trigger_and_wait("abc") == "ABC"


async def test_middleware_is_around_the_body_and_around_no_step_there(database: str) -> None:
    seen: set[str] = set()

    def look(context: wf.Context) -> None:
        seen.add(context.step.id if context.step is not None else context.task.id)

    around = wf.Config(middleware=[look])
    async with wf.Engine(database, OF_PROCESSES, config=around):
        assert await tasks.doubles.trigger_and_wait(21) == [42, 42]
    assert seen == {"doubles"}


async def test_current_the_logger_and_print_work_there(
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with engine(database):
        handle = await tasks.asks_who.trigger(str(tmp_path))
        told = await handle.result()
    assert told["pid"] != os.getpid()
    assert (told["run"], told["attempt"], len(told["key"])) == (handle.id, 1, 32)
    assert capsys.readouterr().out == "printed in the process\n"
    assert caplog.messages == ["logged in who", "an error line"]
    assert {record.name for record in caplog.records} == {"wf.run", "of.the.author"}
    assert logging.getLogger("of.the.author").level == logging.NOTSET


async def test_an_at_most_once_step_whose_process_dies_is_interrupted(
    database: str, tmp_path: Path
) -> None:
    async with engine(database):
        told = await tasks.dying_at_most_once.trigger_and_wait(str(tmp_path))
    assert "was ended by SIGSEGV" in told
    assert tasks.lines(tmp_path / "ledger") == ["dies"]


async def test_a_step_over_its_time_is_ended_also_where_it_cannot_be_told(
    database: str, tmp_path: Path
) -> None:
    async with engine(database):
        told = await tasks.over_time.trigger_and_wait(str(tmp_path))
    assert told == (
        "never-ends ran longer than its timeout of 200 ms; "
        "cannot-be-told ran longer than its timeout of 200 ms"
    )
    assert tasks.lines(tmp_path / "ledger") == ["told"]


@pytest.mark.parametrize("slowly", [False, True])
async def test_a_canceled_step_cleans_up(database: str, tmp_path: Path, slowly: bool) -> None:
    async with engine(database, grace_ms=30_000):
        handle = await tasks.cleaning.options().trigger(slowly, str(tmp_path))
        until(lambda: tasks.lines(tmp_path / "ledger"))
        await wf.AsyncClient(store=wf.client().store).runs.cancel(handle.id)
        with pytest.raises(wf.RunCanceled):
            await handle.result()
    assert tasks.lines(tmp_path / "ledger") == ["begun", "cleaned, True"]


@pytest.mark.parametrize(
    ("kind", "told", "times"),
    [
        ("value", "CardError: value declined True", 3),
        ("abort", "Abort: no more True", 1),
        ("later", "CardError: later declined True", 3),
        ("given up", "CardError: declined True", 1),
    ],
)
async def test_what_a_step_raises_there_counts_as_if_it_were_raised_here(
    database: str, tmp_path: Path, kind: str, told: str, times: int
) -> None:
    async with engine(database):
        run = await tasks.raising.options().trigger(kind, str(tmp_path))
        assert await run.result() == told
    assert tasks.lines(tmp_path / "ledger") == [kind] * times


def test_a_worker_that_is_killed_takes_its_processes_with_it(database: str, tmp_path: Path) -> None:
    with wf.Client(database) as client:
        client.trigger(tasks.staying, str(tmp_path))
        script = (
            "import sys, wf; from tests.engine import away_tasks as t; "
            "wf.Engine(sys.argv[1], [t.staying]).start_now(); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, database], stdin=subprocess.PIPE
        ) as worker:
            pid = int(until(lambda: tasks.lines(tmp_path / "ledger"))[0])
            worker.kill()
    until(lambda: not _is_there(pid))


def _is_there(pid: int) -> bool:
    """An orphan that ended and is not yet reaped is gone, too."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return not Path("/proc").exists()
    return False


SCRIPT = """
import os
import wf

@wf.step(executor="process")
def square(number: int) -> int:
    assert os.getpid() != int(os.environ["STARTED_BY"])
    return number * number

@wf.task
async def main(number: int) -> int:
    return await square(number)

if __name__ == "__main__":
    os.environ["STARTED_BY"] = str(os.getpid())
    print(wf.run(main, 12, database=os.environ["DATABASE"]))
"""


def test_steps_of_a_script_run_in_processes(database: str, tmp_path: Path) -> None:
    script = tmp_path / "a script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "DATABASE": database}
    ran = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("144\n", "")


def test_steps_of_a_file_run_in_processes(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "a script.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("STARTED_BY", str(os.getpid()))
    ran = command("run", str(script), "12", database=database)
    assert ran.stdout == "144\n", ran.stderr


def test_a_step_that_no_process_could_find_is_refused() -> None:
    with pytest.raises(wf.DeclarationError, match="define it at the top of a module"):

        @wf.step(executor="process")
        def here() -> None: ...  # pyright: ignore[reportUnusedFunction]


def test_a_step_of_a_notebook_is_refused_with_what_to_do() -> None:
    cell = "import wf\n@wf.step(executor='process')\ndef here() -> None: ..."
    ran = subprocess.run([sys.executable, "-c", cell], capture_output=True, text=True, check=False)
    assert "here stands in no file" in ran.stderr
    assert ran.stderr.rstrip().endswith("write it into a module, and import that here")


# --- named executors ------------------------------------------------------------------------------

COMPUTED = ["0 by {} in attempt 1", "1 by {} in attempt 1", "CardError", "StepTimedOut"]


async def test_a_step_runs_in_the_executor_that_it_names(database: str) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as mine:
        async with wf.Engine(database, [tasks], executors={"cluster": mine}):
            told = await tasks.computing.trigger_and_wait(2)
    assert told == [line.format("mine_0") for line in COMPUTED]


async def test_in_a_named_executor_current_is_known_and_the_log_stays_there(
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ThreadPoolExecutor(1) as mine:
        async with wf.Engine(database, [tasks], executors={"cluster": mine}):
            handle = await tasks.asks_elsewhere.trigger(str(tmp_path))
            told = await handle.result()
    assert (told["pid"], told["run"], told["attempt"]) == (os.getpid(), handle.id, 1)
    assert told["transaction"].startswith("wf.transaction() has no store where an executor runs")
    assert capsys.readouterr().out == "printed in the process\n"  # "there" is this process
    assert caplog.messages == ["logged in who-elsewhere", "an error line"]


async def test_dask_is_such_an_executor(database: str) -> None:
    distributed: Any = import_module("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        executors = {"cluster": client.get_executor()}
        async with wf.Engine(database, [tasks], executors=executors):
            told = await tasks.computing.trigger_and_wait(2)
    assert [line.partition(" by ")[0] for line in told] == ["0", "1", "CardError", "StepTimedOut"]
    assert all("Dask" in line for line in told[:2])


async def test_an_executor_that_is_broken_fails_the_step_and_not_the_worker(database: str) -> None:
    mine = ThreadPoolExecutor(1)
    mine.shutdown()
    async with wf.Engine(database, [tasks], executors={"cluster": mine}):
        with pytest.raises(wf.RunFailed, match="cannot schedule new futures after shutdown"):
            await tasks.computing.trigger_and_wait(1)


async def test_an_executor_that_is_not_there_is_said_when_the_worker_starts(database: str) -> None:
    with pytest.raises(wf.UnknownExecutor) as refused:
        await wf.Engine(database, [tasks], executors={"gpu": ThreadPoolExecutor(1)}).start()
    told = str(refused.value)
    assert "wants the executor 'cluster', and there are thread, process, gpu: give it," in told
    assert "wf.Engine(executors={'cluster': …})" in told


def test_the_command_line_says_it_too(database: str) -> None:
    ran = command("worker", tasks.__file__, database=database)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "wants the executor 'cluster', and there are thread, process: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_worker_that_stops_ends_its_processes(database: str, tmp_path: Path) -> None:
    with wf.Client(database) as client:
        started = engine(database)
        started.start_now()
        client.trigger(tasks.staying, str(tmp_path))
        pid = int(until(lambda: tasks.lines(tmp_path / "ledger"))[0])
        started.stop_now(0)
    assert not _is_there(pid)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# --- what they tell while they run ----------------------------------------------------------------


async def test_a_step_in_a_process_tells_while_it_runs_and_one_elsewhere_in_the_end(
    database: str, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as mine:
        async with wf.Engine(database, [tasks], executors={"cluster": mine}):
            handle = await tasks.telling.trigger(str(tmp_path), metadata={"count": 1})
            log: list[str] = []
            async for chunk in handle.stream("log"):
                log.append(chunk.data)
                (tmp_path / "seen").touch()
            run = wf.client().runs.retrieve(handle.id)
            assert await handle.result() == [3, 6]  # elsewhere only what the trigger gave is known
    assert log == ["begun", "done", "elsewhere"]
    assert run.metadata == {"count": 8, "seen": {"count": 3}}
    assert run.tags == ("told",)
