"""A database that cannot be used: one line that says what to do, and no run half made."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import sqlite3
from pathlib import Path

import psycopg
import pytest

from tests.cli.terminal import PROGRAMS, Done, Terminal

PAYLOADS = str(PROGRAMS / "payloads.py")
TARGET = (f"{PAYLOADS}:nothing", "--db")
EVERY_COMMAND = [
    ("run", f"{PAYLOADS}:nothing"),
    ("runs", "list"),
    ("tokens", "list"),
    ("trigger", "nothing"),
    ("worker", PAYLOADS),
    ("audit",),
    ("db", "status"),
]


def ask(terminal: Terminal, *words: str) -> Done:
    """In a process of its own where it might do more than look."""
    return (terminal.wf if words[0] in {"run", "worker"} else terminal.here)(*words)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_a_postgres_that_is_down(terminal: Terminal, words: tuple[str, ...]) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/wf"
    line = ask(terminal, *words, "--db", url).refused()
    assert "no connection to Postgres" in line
    assert "secret" not in line


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_a_file_that_is_no_database(terminal: Terminal, words: tuple[str, ...]) -> None:
    (terminal.folder / "notes.db").write_text("these are notes, and no database at all\n" * 50)
    line = ask(terminal, *words, "--db", "notes.db").refused()
    assert "notes.db is not a SQLite database: name another file" in line
    assert (terminal.folder / "notes.db").read_text().startswith("these are notes")


@pytest.mark.parametrize("words", EVERY_COMMAND[1:], ids=" ".join)
def test_a_database_that_is_not_there_is_made_by_nobody_but_those_who_run(
    terminal: Terminal, words: tuple[str, ...]
) -> None:
    if words[0] == "worker":
        return
    line = ask(terminal, *words, "--db", "missing.db").refused()
    assert "there is no database at" in line
    assert line.endswith(f"`wf db migrate --db {terminal.folder / 'missing.db'}`")
    assert not (terminal.folder / "missing.db").exists()


def test_the_hint_makes_the_database_that_was_missing(
    terminal: Terminal, fresh_postgres_url: str
) -> None:
    for url in ("fresh.db", fresh_postgres_url):
        assert "wf db migrate" in terminal.here("trigger", "user", "--db", url).refused()
        terminal.here("db", "migrate", "--db", url).ok()
        terminal.here("trigger", "user", "--db", url).ok()


def test_no_database_is_named(terminal: Terminal) -> None:
    for words in EVERY_COMMAND[1:]:
        assert "give --db URL, or set WF_URL" in ask(terminal, *words).refused()
    terminal.wf("run", f"{PAYLOADS}:nothing").ok()
    told = terminal.wf("runs", "list").refused()
    assert "for what `wf run` made here: --db .wf/wf.db" in told


def test_a_url_of_another_kind(terminal: Terminal) -> None:
    assert "names no database" in terminal.wf("run", *TARGET, "mysql://x/y").refused()
    assert "two slashes" in terminal.wf("run", *TARGET, "sqlite://x.db").refused()


def test_a_folder_and_a_file_in_no_folder(terminal: Terminal) -> None:
    assert "is a directory: name a file in it" in terminal.wf("run", *TARGET, ".").refused()
    assert "make its directory first" in terminal.wf("run", *TARGET, "no/such/wf.db").refused()


def test_a_newer_database(terminal: Terminal, fresh_postgres_url: str) -> None:
    newer = "UPDATE meta SET version = 999"
    for database in ("runs.db", fresh_postgres_url):
        terminal.wf("run", *TARGET, database).ok()
        if database == fresh_postgres_url:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(newer)
        else:
            with sqlite3.connect(terminal.folder / database) as db:
                db.execute(newer)
            db.close()
        line = terminal.wf("run", *TARGET, database).refused()
        assert "999" in line
        assert "wf" in line


def test_a_locked_database(terminal: Terminal) -> None:
    terminal.wf("run", *TARGET, "wf.db").ok()
    before = runs_in(terminal.folder / "wf.db")
    holder = sqlite3.connect(terminal.folder / "wf.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        line = terminal.wf("run", *TARGET, "wf.db").refused()
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert "is locked by another process" in line
    assert runs_in(terminal.folder / "wf.db") == before


def runs_in(file: Path) -> int:
    db = sqlite3.connect(file)
    try:
        return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
    finally:
        db.close()


def test_a_disk_that_is_full_before_the_run_is_made(terminal: Terminal) -> None:
    terminal.wf("run", *TARGET, "wf.db").ok()
    before = runs_in(terminal.folder / "wf.db")
    size = (terminal.folder / "wf.db").stat().st_size

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 4, size // 4))

    big = '"' + "x" * size + '"'
    terminal.write("big.json", big)
    done = terminal.wf("run", f"{PAYLOADS}:text", "@big.json", "--db", "wf.db", preexec_fn=full)
    line = done.refused()
    assert "wf.db" in line
    assert "disk" in line
    assert runs_in(terminal.folder / "wf.db") == before
    terminal.wf("audit", "--db", "wf.db").ok()


def test_a_folder_that_may_not_be_written(terminal: Terminal, tmp_path: Path) -> None:
    terminal.folder.chmod(0o555)
    try:
        done = as_nobody(terminal, "run", f"{PAYLOADS}:nothing")
        named = as_nobody(terminal, "run", *TARGET, "wf.db")
    finally:
        terminal.folder.chmod(0o755)
    assert "Permission denied: name a place" in done
    assert "cannot be written" in named
    assert not (tmp_path / ".wf").exists()


def as_nobody(terminal: Terminal, *words: str) -> str:
    """The refusal of a user who may write only where the folder says so."""
    return terminal.wf(*words, preexec_fn=obey_permissions).refused()


def obey_permissions() -> None:
    """Root may write everywhere, unless it gives up the right to override (Linux)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
