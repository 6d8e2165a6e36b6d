"""The server that the tests run on is real, shared, and gone when its session is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import postgres_server
from tests.postgres_server import wait_until_ended

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 30

SESSION = """
import os, sys
from tests import postgres_server
postgres_server.open_session({settings})
postgres_server.server_url()
print(os.environ["WF_TEST_POSTGRES_HOME"], flush=True)
sys.stdin.read()
{end}
"""


def start_session(end: str = "", settings: str = "") -> tuple[subprocess.Popen[str], Path]:
    """Another test session's main process, with a server of its own running."""
    environment = {name: value for name, value in os.environ.items() if name != "WF_TEST_POSTGRES"}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SESSION.format(end=end, settings=settings))],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def processes_of(home: Path) -> tuple[psutil.Process, psutil.Process]:
    keeper = psutil.Process(int((home / "keeper.lock").read_text()))
    server = psutil.Process(int((home / "data" / "postmaster.pid").read_text().split()[0]))
    return keeper, server


def test_it_is_durable_if_not_told_otherwise() -> None:
    for settings, expected in {"": "on", "fsync='off'": "off"}.items():
        session, home = start_session("postgres_server.close_session()", settings)
        url = f"postgresql://postgres@/postgres?host={home / 's'}"
        with psycopg.connect(url) as connection:
            shown = connection.execute("SELECT current_setting('fsync')").fetchone()
        session.communicate("", timeout=WAIT_S)
        assert shown == (expected,)


def test_each_fresh_database_is_another_one(postgres_url: str, fresh_postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as one, psycopg.connect(fresh_postgres_url) as other:
        assert one.info.dbname != other.info.dbname


def test_it_is_gone_when_its_session_closes() -> None:
    session, home = start_session(end="postgres_server.close_session()")
    keeper, server = processes_of(home)
    session.communicate("", timeout=WAIT_S)
    assert session.returncode == 0
    assert not home.exists()
    wait_until_ended(keeper)
    wait_until_ended(server)


def test_it_goes_when_its_session_is_killed() -> None:
    session, home = start_session()
    keeper, server = processes_of(home)
    session.kill()
    session.communicate(timeout=WAIT_S)
    wait_until_ended(server)
    wait_until_ended(keeper)
    assert not home.exists()


def test_the_next_session_clears_what_a_killed_keeper_left() -> None:
    session, home = start_session()
    keeper, server = processes_of(home)
    keeper.kill()
    session.kill()
    session.communicate(timeout=WAIT_S)
    wait_until_ended(keeper)
    assert server.is_running()
    postgres_server.sweep()
    assert not home.exists()
    wait_until_ended(server)


def test_a_sweep_leaves_a_session_in_use_alone() -> None:
    session, home = start_session()
    _keeper, server = processes_of(home)
    postgres_server.sweep()
    assert server.is_running()
    session.send_signal(signal.SIGKILL)
    session.communicate(timeout=WAIT_S)
    wait_until_ended(server)


def test_the_socket_is_in_a_short_directory_whatever_the_temporary_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert len(str(postgres_server.short_temporary_directory())) < postgres_server.MAX_SOCKET_PATH
