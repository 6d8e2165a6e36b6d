"""What a run tells while it runs: S6, S8, S59, S60, S66, S67, S82."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import wf
from tests.mission import telling
from tests.mission.telling import TOKENS
from tests.observing import ended
from tests.observing import wf as command


def say(seen: Path, what: str = "") -> None:
    Path(f"{seen}{what}").touch()


async def test_s6_progress_reaches_who_looks_on_while_the_run_goes_on(
    database: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    shown: list[dict[str, Any]] = []
    output: Any = None
    async with wf.Engine(database, [telling]):
        handle = await telling.process_video.trigger(str(seen), metadata={"title": "cats"})
        async for run in handle.subscribe():
            shown.append(run.metadata)
            output = run.output
            if run.metadata.get("progress") == 1:
                say(seen, "-encoded")
            if run.metadata.get("urls"):
                say(seen, "-published")
    assert shown[0]["title"] == "cats"
    assert {"title": "cats", "stage": "encoding", "progress": 1} in shown
    assert shown[-1] == {
        "title": "cats",
        "stage": "done",
        "progress": 1,
        "urls": ["https://example.com/video"],
    }
    assert output == {"title": "cats", "stage": "done"}  # what the body itself knows


def test_s8_from_the_app_to_a_worker_and_back_to_the_screen(database: str, tmp_path: Path) -> None:
    """Another process works: the app's process only triggers, and shows."""
    seen = tmp_path / "seen"
    worker = subprocess.Popen(
        [sys.executable, "-m", "wf.cli", "worker", telling.__file__, "--db", database],
        env={**os.environ, "NO_COLOR": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        with wf.Client(database) as client:
            handle = client.trigger("answer", str(seen))
            tokens: list[Any] = []
            for chunk in handle.stream("tokens"):
                tokens.append(chunk.data)
                if len(tokens) == len(TOKENS) - 1:
                    assert client.runs.retrieve(handle.id).status is wf.Status.EXECUTING
                    say(seen)
            assert tokens == TOKENS
            run = ended(client, handle.id)
            assert (run.metadata, run.output) == ({"latest": TOKENS[-2]}, " ".join(TOKENS))
    finally:
        worker.terminate()
        worker.wait(30)
    shown = command("runs", "show", handle.id, database=database)
    assert f'metadata     {{"latest": "{TOKENS[-2]}"}}' in shown.stdout


async def test_s59_changes_of_status_metadata_and_output_are_published(
    database: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    say(seen, "-encoded")
    client = wf.AsyncClient(database)
    async with client:
        handle = await client.trigger(telling.process_video, str(seen))
        told: list[wf.RunView] = []
        following = handle.subscribe()
        told.append(await anext(following))
        async with wf.Engine(database, [telling]):
            async for run in following:
                told.append(run)
                if run.metadata.get("urls"):
                    say(seen, "-published")
    statuses = [run.status for run in told]
    assert statuses[0] in (wf.Status.QUEUED, wf.Status.PENDING_VERSION)
    assert wf.Status.EXECUTING in statuses
    assert [run.output for run in told if run.output] == [{"stage": "done"}]
    assert told[-1].status is wf.Status.COMPLETED
    assert told[-1].tags == ("feature:video",)


async def test_s60_metadata_is_set_again_and_again_and_the_latest_value_is_seen(
    database: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    say(seen, "-published")
    progress: list[float] = []
    async with wf.Engine(database, [telling]):
        handle = await telling.process_video.trigger(str(seen))
        async for run in handle.subscribe():
            progress += [run.metadata["progress"]] if "progress" in run.metadata else []
            if run.metadata.get("progress") == 1:
                say(seen, "-encoded")
        assert progress == sorted(progress)
        assert progress[-1] == 1
        told = await telling.book()
        assert told == {}
        [book] = wf.client().runs.list(task="book")
        assert sorted(book.metadata.pop("chapters")) == [0, 1, 2]
        assert book.metadata == {"done": 3}


async def test_s66_tokens_of_a_model_arrive_in_order_while_the_step_runs(
    database: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    async with wf.Engine(database, [telling]):
        handle = await telling.answer.trigger(str(seen))
        tokens: list[wf.ChunkView] = []
        async for token in handle.stream("tokens"):
            tokens.append(token)
            if len(tokens) == len(TOKENS) - 1:
                run = wf.client().runs.retrieve(handle.id)
                assert run.status is wf.Status.EXECUTING
                assert run.output is None
                assert run.metadata == {"latest": TOKENS[-2]}
                say(seen)
    assert [token.data for token in tokens] == TOKENS
    assert [token.seq for token in tokens] == list(range(1, len(TOKENS) + 1))


async def test_s67_who_comes_again_sees_the_current_state_and_goes_on_in_the_stream(
    database: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    async with wf.Engine(database, [telling]):
        handle = await telling.answer.trigger(str(seen))
        first: list[wf.ChunkView] = []
        async for token in handle.stream("tokens"):
            first.append(token)
            if len(first) == 4:
                break  # the page is closed
        client = wf.AsyncClient(database)
        async with client:
            async for run in client.runs.subscribe(handle.id):
                if run.metadata == {"latest": TOKENS[-2]}:
                    break
            say(seen)
            again = [one.data async for one in client.runs.stream(handle.id, "tokens")]
            after = first[-1].seq
            rest = [one.data async for one in client.runs.stream(handle.id, "tokens", after=after)]
            [last] = [one async for one in client.runs.subscribe(handle.id)]
    assert again == TOKENS
    assert [one.data for one in first] + rest == TOKENS
    assert last.output == " ".join(TOKENS)


async def test_s82_runs_are_found_by_the_tags_of_the_business(
    database: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    say(seen, "-encoded")
    say(seen, "-published")
    async with wf.Engine(database, [telling]):
        handle = await telling.process_video.trigger(str(seen), tags=["user:123"])
        other = await telling.process_video.trigger(str(seen), tags=["user:124"])
        await handle.result()
        await other.result()
    listed = command("runs", "list", "--tag", "user:123", "--json", database=database)
    assert [run["id"] for run in json.loads(listed.stdout)] == [handle.id]
    listed = command("runs", "list", "--tag", "feature:video", "--json", database=database)
    tags = {run["id"]: run["tags"] for run in json.loads(listed.stdout)}
    assert tags == {
        handle.id: ["user:123", "feature:video"],
        other.id: ["user:124", "feature:video"],
    }
