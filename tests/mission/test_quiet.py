"""What bodies print and log comes out once; an await that was forgotten is told of."""

from __future__ import annotations

import logging

import pytest

import wf
from tests.mission import quiet
from wf.engine.settings import WorkerSettings


@pytest.mark.parametrize("paranoid", [False, True])
async def test_a_body_that_is_replayed_prints_and_logs_each_line_once(
    database: str,
    paranoid: bool,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "tests.quiet")
    settings = WorkerSettings(paranoid=paranoid, cache_size=0)  # each wait is followed by a replay
    async with wf.Engine(database, [quiet], settings=settings):
        assert await quiet.talks(1) == 4
    said = [record.getMessage() for record in caplog.records if record.name == "tests.quiet"]
    assert said == ["logged first", "in the step", "logged last", "in the step"]
    assert capsys.readouterr().out.splitlines() == ["printed first", "printed last"]


async def test_a_forgotten_await_fails_the_run_where_it_is_developed(database: str) -> None:
    async with wf.Engine(database, [quiet], paranoid=True) as engine:
        with pytest.raises(wf.RunFailed, match=r"step at .*quiet\.py:\d+; write `await`") as failed:
            await quiet.forgets(1)
        assert failed.value.type == "OperationNeverAwaited"
        from wf.engine.replaying import replay_all

        assert replay_all(engine.store, engine.registry) == []


async def test_a_forgotten_await_is_a_warning_in_a_worker(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with wf.Engine(database, [quiet]):
        assert await quiet.forgets(1) == 1
    told = [record for record in caplog.records if "never awaited" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "quiet.py:" in told[0].getMessage()
