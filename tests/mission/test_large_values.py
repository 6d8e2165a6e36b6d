"""Values above 256 KB are kept beside their runs, and nobody but who lists many runs can tell."""

from __future__ import annotations

from pathlib import Path

import wf
from tests.mission import odd
from tests.mission.test_odd_values import through
from tests.observing import wf as command

LARGE = "x" * 300_000


async def test_a_large_value_is_whole_wherever_one_run_is_asked_for(
    database: str, tmp_path: Path
) -> None:
    assert await through(database, LARGE) == [LARGE] * 5
    with wf.Client(database) as client:
        [child] = client.runs.list(task="child")
        assert child.output == {"wf.large": "300,002 bytes: `retrieve` reads it"}
        assert client.runs.retrieve(child.id).output == LARGE
        async with wf.Engine(database, [odd]):
            assert client.runs.replay(child.id).result(timeout="60s") == LARGE
        for replayed in client.runs.replay_all(task="child").values():
            assert client.runs.retrieve(replayed).payload == LARGE
        [parent] = client.runs.list(task="through")
        kept = [event.data for event in client.runs.history(parent.id)]
        assert kept.count(LARGE) == 4  # the step, the child, the token and the message
    saved = tmp_path / "saved.db"
    command("export", parent.id, "--to", str(saved), database=database).check_returncode()
    with wf.Client(f"sqlite:///{saved}") as copy:
        assert copy.runs.retrieve(parent.id).output == [LARGE] * 5
        assert [event.data for event in copy.runs.history(parent.id)] == kept
    command("audit", "--replay", odd.__file__, database=database).check_returncode()
