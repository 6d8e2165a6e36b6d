"""S9: runs are isolated from each other."""

from __future__ import annotations

from pathlib import Path

import wf
from tests.engine import away_tasks as tasks
from tests.observing import until


async def test_s9_a_step_that_ends_its_process_re_executes_no_step_of_another_run(
    database: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    known = [tasks.dying, tasks.outliving, tasks.double]
    async with wf.Engine(database, known):
        outliving = await tasks.outliving.trigger(str(tmp_path))
        until(lambda: "outlives" in tasks.lines(ledger))
        (tmp_path / "others-are-there").touch()
        told = await tasks.dying.trigger_and_wait(str(tmp_path))
        assert told.startswith("ProcessDied: the process in which dies ran ended with exit code 7")
        (tmp_path / "it-has-died").touch()
        assert await outliving.result() == "alive"
        assert [event.kind for event in wf.client().runs.history(outliving.id)] == [
            "STARTED",
            "STEP_FINISHED",
            "ENDED",
        ]
    assert sorted(tasks.lines(ledger)) == ["dies", "dies", "outlives"]
