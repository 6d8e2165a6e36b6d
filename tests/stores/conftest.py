"""Every test here that asks for `world` runs on each store: a SQLite file and a Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.codecs import key_ring
from tests.stores.world import World
from wf.history.open import open_store


@pytest.fixture(params=["sqlite", "postgres", "sealed"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store: a new file, or this process's database with its tables emptied."""
    if request.param != "postgres":
        return f"sqlite:///{tmp_path}/wf.db"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def world(url: str, request: pytest.FixtureRequest) -> Iterator[World]:
    codec = key_ring() if "sealed" in request.node.name else None
    world = World(url, open_store(url, codec=codec), codec)
    yield world
    world.close()
