"""From a URL to a store, or to a sentence that says what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from wf.history import sqlite_database
from wf.history.errors import BadURL, StoreNewer
from wf.history.open import open_store, shown, sqlite_path
from wf.history.sqlite_database import filesystem_of
from wf.history.version import SCHEMA_VERSION


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///wf.db", "wf.db"),
        ("sqlite:////var/wf.db", "/var/wf.db"),
        ("sqlite:///.wf/wf.db", ".wf/wf.db"),
        (".wf/wf.db", ".wf/wf.db"),
        ("/var/wf.db", "/var/wf.db"),
    ],
)
def test_a_url_or_a_path_names_a_file(url: str, path: str) -> None:
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite://wf.db", "sqlite:///:memory:", "mysql://h/db"]
)
def test_what_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(BadURL, match="write "):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:secret@host/wf", "'postgresql://me:***@host/wf'"),
        ("postgres://host/wf?user=me&password=secret", "'postgres://host/wf?user=me&password=***'"),
        ("postgresql://me@host/wf", "postgresql://me@host/wf"),
        ("sqlite:///a b.db", "'a b.db'"),
        ("sqlite:////var/wf.db", "/var/wf.db"),
    ],
)
def test_a_url_is_shown_for_the_shell_and_without_a_password(url: str, told: str) -> None:
    assert shown(url) == told


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadURL, match="is a directory: name a file in it"):
        open_store(str(tmp_path))


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadURL, match="mkdir -p"):
        open_store(str(tmp_path / "no" / "wf.db"))


def test_a_missing_file_is_made_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "wf.db"
    with pytest.raises(BadURL, match="there is no database"):
        open_store(str(path), create=False)
    assert not path.exists()
    open_store(str(path)).close()
    open_store(str(path), create=False).close()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n" * 1_000)
    with pytest.raises(BadURL, match="not a SQLite database"):
        open_store(str(path))
    assert path.read_text() == "buy milk\n" * 1_000


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "wf.db"
    path.touch()
    open_store(str(path)).close()
    open_store(str(path), create=False).close()


@pytest.mark.parametrize("table", ["runs (x)", "events (x)", "meta (key, value)"])
def test_tables_of_another_program_are_refused(tmp_path: Path, table: str) -> None:
    path = tmp_path / "app.db"
    change(path, f"CREATE TABLE {table}")
    with pytest.raises(BadURL, match="another program"):
        open_store(str(path))


def test_a_database_with_other_tables_takes_those_of_wf(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    change(path, "CREATE TABLE customers (id)")
    open_store(str(path)).close()
    change(path, "INSERT INTO customers VALUES (1)")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wf.db"
    open_store(str(path)).close()
    change(path, f"UPDATE meta SET version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreNewer, match="upgrade wf-engine"):
        open_store(str(path))


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nfs(_: Path) -> str:
        return "nfs4"

    monkeypatch.setattr(sqlite_database, "filesystem_of", nfs)
    with pytest.raises(BadURL, match="network filesystem"):
        open_store(str(tmp_path / "wf.db"))


def test_the_filesystem_is_that_of_the_innermost_mount(tmp_path: Path) -> None:
    inner = tmp_path / "shared data" / "sub"
    inner.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    outer = str(inner.parent.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nhost:/x {outer} nfs4 rw 0 0\nhost:/y {outer}x cifs rw\n"
    )
    assert filesystem_of(inner, str(mounts)) == "nfs4"
    assert filesystem_of(tmp_path, str(mounts)) == "ext4"
    assert filesystem_of(tmp_path, str(tmp_path / "none")) == ""


def change(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()
