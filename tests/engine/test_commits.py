"""How often a worker at work goes to the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
