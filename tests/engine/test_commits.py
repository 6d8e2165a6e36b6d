"""How often a worker at work goes to the database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

import wf
from wf.engine.worker import WorkerSettings
from wf.history.open import open_store

HOUR_MS = 3_600_000


@wf.step
async def double(number: int) -> int:
    return 2 * number


@wf.task
async def doubled(number: int) -> int:
    return await double(number)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_worker_is_not_woken_by_what_its_own_commit_tells_others(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_file = kind == "sqlite"
    url = f"sqlite:///{tmp_path}/wf.db" if is_file else request.getfixturevalue("postgres_url")
    store = open_store(url)
    settings = WorkerSettings(environment="own hints", poll_ms=HOUR_MS, lease_ms=HOUR_MS)
    engine = wf.Engine(tasks=[doubled], environment="own hints", store=store, settings=settings)
    client = wf.Client(store=store, environment="own hints")
    engine.start_now()
    client.trigger(doubled, 1).result(20)
    claims: list[bool] = []
    really = store.commit

    def commit(lease: Any, activations: Any, claim: Any, *others: Any) -> Any:
        claims.append(claim is not None)
        return really(lease, activations, claim, *others)

    monkeypatch.setattr(store, "commit", commit)
    assert [client.trigger(doubled, number).result(20) for number in (2, 3)] == [4, 6]
    engine.stop_now()
    assert claims == [True, False] * 2, "of each run the claim, and the end, which is for nobody"
    store.close()


@wf.step
async def double_slowly(number: int) -> int:
    await asyncio.sleep(0.003)
    return 2 * number


@wf.task
async def doubled_often(times: int) -> int:
    return sum([await double_slowly(number) for number in range(times)])


def test_a_worker_looks_once_for_each_result(tmp_path: Path) -> None:
    engine = wf.Engine(f"sqlite:///{tmp_path}/wf.db", [doubled_often])
    engine.start_now()
    worker = cast("Any", engine)._host.worker
    ticks = 0
    tick = worker.tick

    def counted() -> bool:
        nonlocal ticks
        ticks += 1
        return tick()

    worker.tick = counted
    with wf.Client(f"sqlite:///{tmp_path}/wf.db") as client:
        assert client.trigger(doubled_often, 100).result(20) == 9_900
    engine.stop_now()
    assert ticks < 150, "not again where there is nothing more"
