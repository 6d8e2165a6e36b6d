"""The real Postgres that the tests run on.

One server for a whole test session, started by the first test that asks; the workers of
pytest-xdist share it and each has a database of its own. `WF_TEST_POSTGRES` names another server
(a URL whose role may create databases). A test never skips for want of Postgres: it fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from wf.history.schema import schema

KEEPER = Path(__file__).with_name("postgres_keeper.py")
PREFIX = "wf-pg-"
HOME_VARIABLE = "WF_TEST_POSTGRES_HOME"
SERVER_VARIABLE = "WF_TEST_POSTGRES"
POLL_S = 0.02
MAX_SOCKET_PATH = 100
"""Linux takes 107 bytes for the path of a Unix socket, macOS 103."""


def open_session(**settings: str) -> None:
    """Reserve a directory for this session's server. Called once, in pytest's main process.
    `settings`: Postgres's own, that its server is to have."""
    sweep()
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=short_temporary_directory()))
    me = psutil.Process()
    (home / "settings").write_text("\n".join(f"{name}={settings[name]}" for name in settings))
    (home / "owner").write_text(f"{me.pid} {me.create_time()}")
    os.environ[HOME_VARIABLE] = str(home)


def close_session() -> None:
    """Stop the server, if one was started, and wait until it is gone."""
    home = Path(os.environ.pop(HOME_VARIABLE))
    with contextlib.suppress(FileNotFoundError), (home / "keeper.lock").open() as lock:
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(lock.read()), signal.SIGTERM)
        fcntl.flock(lock, fcntl.LOCK_EX)
    shutil.rmtree(home, ignore_errors=True)


def server_url() -> str:
    """The URL of the session's server, which is started if need be."""
    if named := os.environ.get(SERVER_VARIABLE):
        return named
    home = Path(os.environ[HOME_VARIABLE])
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "started").exists():
            owner = (home / "owner").read_text().split()[0]
            start = [sys.executable, str(KEEPER), str(home), owner]
            done = subprocess.run(start, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(
                    f"{done.stderr.strip()}\nOr name a server: {SERVER_VARIABLE}=postgresql://..."
                )
            (home / "started").touch()
    return f"postgresql://postgres@/postgres?host={home / 's'}"


def create_database(label: str = "test") -> str:
    """Make an empty database on the session's server; its URL."""
    name = f"wf_{label}_{uuid.uuid4().hex[:12]}"
    _execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return database_url(server_url(), name)


def drop_database(url: str) -> None:
    """Remove a database that `create_database` made, whoever is still connected."""
    name = str(conninfo_to_dict(url)["dbname"])
    _execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def end_connections(url: str) -> None:
    """Whoever is still connected to this database is so no longer."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def empty_database(url: str) -> None:
    """Remove all rows but those that say which schema this is, and the tables that a test made. By
    DELETE: where there are few rows, TRUNCATE takes ten times as long, a new database twenty."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    with psycopg.connect(url, autocommit=True) as connection:
        found = {str(row[0]) for row in connection.execute(tables)}
        names = found & schema.tables.keys() - {"meta"}
        for name in found - schema.tables.keys():
            connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(name)))
        deletes = (
            sql.SQL("{} AS (DELETE FROM {})").format(
                sql.Identifier(f"of_{name}"), sql.Identifier(name)
            )
            for name in names
        )
        connection.execute(sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(deletes)))


def database_url(url: str, name: str) -> str:
    """The same server's URL with another database in it."""
    base, mark, query = url.partition("?")
    scheme, slashes, rest = base.partition("//")
    return f"{scheme}{slashes}{rest.partition('/')[0]}/{name}{mark}{query}"


def _execute(statement: sql.Composed) -> None:
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(statement)


def short_temporary_directory() -> Path:
    """Where a socket's path stays within what the system takes."""
    candidates = [tempfile.gettempdir(), "/tmp", "/var/tmp"]  # noqa: S108 # short is the point
    for candidate in candidates:
        longest = f"{candidate}/{PREFIX}xxxxxxxx/s/.s.PGSQL.5432"
        usable = os.access(candidate, os.W_OK | os.X_OK)
        if usable and len(os.fsencode(longest)) <= MAX_SOCKET_PATH:
            return Path(candidate)
    raise RuntimeError(f"no directory is short enough for a Unix socket: {candidates}; set TMPDIR")


def sweep() -> None:
    """Clear what sessions left that were killed together with their keeper."""
    for home in short_temporary_directory().glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            if home.stat().st_uid == os.geteuid() and not _in_use(home):
                _kill_server(home)
                shutil.rmtree(home, ignore_errors=True)


def _in_use(home: Path) -> bool:
    pid, created = (home / "owner").read_text().split()
    if psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).create_time() == float(created):
        return True
    try:
        with (home / "keeper.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _kill_server(home: Path) -> None:
    data = home / "data"
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        if Path(postmaster.cwd()) == data:
            postmaster.send_signal(signal.SIGQUIT)
            wait_until_ended(postmaster)


def wait_until_ended(process: psutil.Process, timeout_s: float = 30) -> None:
    """Wait for a process that is not a child; where no init reaps it, a zombie is the end."""
    for _ in range(int(timeout_s / POLL_S)):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(POLL_S)
                continue
        return
    raise TimeoutError(f"process {process.pid} has not ended")
