"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wf.client.client import Client

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The database: sqlite:///path, a path, or postgresql://…  Default: WF_URL, "
        "else the project's.",
        show_default=False,
    ),
]
RunDb = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The database: sqlite:///path, a path, or postgresql://…  "
        "Default: WF_URL, else the project's, else .wf/wf.db at its root.",
        show_default=False,
    ),
]
Env = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="NAME",
        help="The environment. Default: WF_ENVIRONMENT, else dev.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]


def database(db: str | None) -> str:
    """The URL to use. Raises NotConnected."""
    from wf.history import project
    from wf.history.errors import NotConnected
    from wf.history.open import shown

    url = db or os.environ.get("WF_URL") or project.database()
    if url:
        return url
    local = local_database()
    hint = f"; for what `wf run` made here: --db {shown(str(local))}" if local.exists() else ""
    raise NotConnected(f"no database is named: give --db URL, or set WF_URL{hint}")


def environment(env: str | None) -> str:
    from wf.history import connections

    return env or connections.environment()


@contextmanager
def client(db: str | None, env: str | None) -> Generator[Client]:
    """A client of a database that is there. Raises NotConnected, BadURL, StoreUnavailable."""
    from wf.client.client import Client
    from wf.history import project
    from wf.history.open import open_store

    store = open_store(database(db), create=False, codec=project.codec())
    try:
        yield Client(store=store, environment=environment(env))
    finally:
        store.close()


def local_database() -> Path:
    """`.wf/wf.db` at the project's root, which may not be there yet."""
    from wf.history import project

    return project.root() / ".wf" / "wf.db"


def program() -> str:
    """`wf`, as it is typed here: with its path, where the shell would not find it or find another
    one."""
    from shutil import which

    called = Path(sys.argv[0])
    if called.name != "wf" or not called.exists():
        return "wf"  # not by its name, so not by a person
    found = which("wf")
    return "wf" if found and called.samefile(found) else shlex.quote(sys.argv[0])
