"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest

from tests import postgres_server


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgres_server.open_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgres_server.close_session()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An `async def` test is a test."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]
    asyncio.run(test(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def postgres_url(worker_id: str) -> Iterator[str]:
    """A database of this worker process, for tests that clean up by themselves or need not."""
    url = postgres_server.create_database(worker_id)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def fresh_postgres_url() -> Iterator[str]:
    """An empty database for one test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
