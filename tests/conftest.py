"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest

from tests import postgres_server
from wf.history.open import open_store


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        # The tests kill processes, and not the machine.
        postgres_server.open_session(fsync="off")


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
    """The database of this worker process, with what tests before left in it."""
    url = postgres_server.create_database(worker_id)
    open_store(url).close()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> str:
    """The database of this worker process, with all tables and not a row."""
    postgres_server.end_connections(postgres_url)
    postgres_server.empty_database(postgres_url)
    return postgres_url


@pytest.fixture
def fresh_postgres_url() -> Iterator[str]:
    """A database for one test, without a table."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
