"""One SQLite file: how it is opened, written and read by any number of threads and processes.

*Who writes.* One connection per process writes, behind a lock; reads go through a small pool of
others. Every write is BEGIN IMMEDIATE: a read that upgrades to a write is refused at once, whatever
the busy timeout. Processes that want to write stand in line (`sqlite_line`), so that only its first
has to ask SQLite for the file.

*Who checkpoints.* SQLite 3.7.0 to 3.51.2 can lose a committed page when a checkpoint starts on a
WAL that is already copied in full, while another process starts that WAL anew. So here nobody may
checkpoint but the first in that line, who has an OS lock (`flock` on `<file>.checkpoint`) from
before its commit until its checkpoint is done, right after: its own frames are not copied yet and
nobody else can copy them, therefore the WAL cannot be started anew meanwhile. The lock is held for
one transaction only. A holder that dies gives it up, one that idles never has it, and whichever
process writes keeps the WAL short.

*What nobody does.* Open the file other than through SQLite: closing any descriptor of it drops the
POSIX locks that SQLite holds in this process. Use a connection in a process that it was not opened
in: a fork abandons them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakSet

from wf.history.errors import BadURL, Error, StoreMoved, StoreNewer, StoreUnavailable
from wf.history.limits import (
    BUSY_TIMEOUT_MS,
    CACHE_KIB,
    CHECKPOINT_PAGES,
    IDLE_READERS,
    STATEMENTS,
    WAL_BYTES,
)
from wf.history.sqlite_line import Line
from wf.history.version import SCHEMA_VERSION

OLDEST_SQLITE: Final = (3, 35, 0)
"""RETURNING."""
SPIN_S: Final = 0.000_5
"""Between two tries for a lock: short against a commit, long against a try (10 us)."""
PATIENCE_S: Final = 0.2
PATIENT_SPIN_S: Final = 0.005
"""And where somebody writes for longer than that."""
NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre", "beegfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "ncpfs", "gfs2"}
)
"""Filesystems on which several hosts see one file, and a WAL's shared memory does not reach."""

_databases: WeakSet[Database] = WeakSet()
MOVED: Final = "has been moved"
MOVED_MARK: Final = "wf_moved"
"""How the names of the triggers begin that let nobody write a file that was promoted."""
MOVED_RUNS: Final = f"{MOVED_MARK}_insert_runs"

_abandoned: list[sqlite3.Connection] = []
"""Connections of a parent process: closing them here would touch its file."""


class Database:
    """The file, opened. Made where it is missing and `create`; brought to this wf's schema."""

    def __init__(
        self, path: Path, *, create: bool = True, busy_timeout_ms: int = BUSY_TIMEOUT_MS
    ) -> None:
        _check_place(path, create)
        self.path = path
        self._busy_ms = busy_timeout_ms
        self._closed = False
        self._line = Line(f"{path}.checkpoint")
        self._reset()
        _databases.add(self)
        try:
            with self._write_lock, self.errors():
                self._writer()
            with self.read() as db:
                state = _state(db)
            if state == 0:
                with self.write() as db:
                    make_schema(db)
        except BaseException:
            self.close()
            raise
        if 0 < state < SCHEMA_VERSION:
            from wf.history.migrate import migrate

            migrate(f"sqlite:///{path}")

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """One transaction: committed at the end, rolled back where an error leaves the block."""
        with self._write_lock, self.errors():
            db = self._writer()
            with self._begun(db):
                try:
                    yield db
                except BaseException:
                    roll_back(db)
                    raise
                self._commit(db)

    @contextmanager
    def _begun(self, db: sqlite3.Connection) -> Generator[None]:
        """A transaction is begun, and we are the first in the line, or have waited for long."""
        start = time.monotonic()
        self._line.wait(self._busy_ms / 1_000)
        try:
            self._patiently(db, "BEGIN IMMEDIATE", start)
            yield
        finally:
            self._line.leave()

    def hold(self) -> sqlite3.Connection:
        """A transaction for somebody else, on a connection of its own. Nobody in this process
        writes until `let_go`."""
        if not self._write_lock.acquire(timeout=self._busy_ms / 1000):
            raise StoreUnavailable(f"{self.path} is being written for long: try again")
        try:
            with self.errors():
                db = self._connect("PRAGMA synchronous = FULL", "PRAGMA busy_timeout = 0")
                try:
                    with self._begun(db):
                        pass
                except BaseException:
                    db.close()
                    raise
        except BaseException:
            self._write_lock.release()
            raise
        return db

    def commit_held(self, db: sqlite3.Connection) -> None:
        """It copies nothing into the file: others see to that."""
        with self.errors():
            self._end(db)

    def let_go(self, db: sqlite3.Connection) -> None:
        """What is not committed is rolled back."""
        roll_back(db)
        db.close()
        self._write_lock.release()

    def rewrite(self) -> None:
        """Write the whole file anew, without a trace of what was removed, and empty the WAL. Nobody
        else writes meanwhile. Raises StoreUnavailable where somebody reads for long."""
        with self._write_lock, self.errors():
            while not self._line.is_first:
                self._line.wait(self._busy_ms / 1_000)
            try:
                with closing(
                    self._connect("PRAGMA synchronous = FULL", "PRAGMA busy_timeout = 0")
                ) as db:
                    self._patiently(db, "VACUUM")
                    self._empty_wal(db)
            finally:
                self._line.leave()

    def _empty_wal(self, db: sqlite3.Connection) -> None:
        """After a commit, see the module; and so before each further try."""
        start = time.monotonic()
        while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if (time.monotonic() - start) * 1000 > self._busy_ms:
                raise StoreUnavailable(
                    f"{self.path} is being read for long, so its WAL cannot be emptied: try again"
                )
            time.sleep(PATIENT_SPIN_S)
            self._patiently(db, "UPDATE meta SET version = version")

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """A connection on which every statement is its own snapshot."""
        with self.errors():
            try:
                db = self._readers.pop()
            except IndexError:
                db = self._connect("PRAGMA query_only = 1")
            try:
                yield db
            finally:
                if len(self._readers) < IDLE_READERS and not self._closed:
                    self._readers.append(db)
                else:
                    db.close()

    def close(self) -> None:
        """Give everything back. The last process out copies the WAL into the file and removes
        it."""
        with self._write_lock:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            if self._writing is not None:
                self._writing.close()
                self._writing = None
            self._line.close()

    def _reset(self) -> None:
        self._write_lock = threading.Lock()
        self._writing: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._checkpoints = False

    def _after_fork(self) -> None:
        _abandoned.extend(self._readers)
        if self._writing is not None:
            _abandoned.append(self._writing)
        self._line.after_fork()
        self._reset()

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"the store on {self.path} is closed: open it again")
        db = sqlite3.connect(
            self.path,
            timeout=self._busy_ms / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )
        try:
            for pragma in ("PRAGMA wal_autocheckpoint = 0", *pragmas):
                db.execute(pragma)
        except BaseException:
            db.close()
            raise
        return db

    def _writer(self) -> sqlite3.Connection:
        if self._writing is None:
            db = self._connect(
                "PRAGMA synchronous = FULL",
                "PRAGMA temp_store = MEMORY",
                f"PRAGMA cache_size = -{CACHE_KIB}",
                f"PRAGMA journal_size_limit = {WAL_BYTES}",
            )
            try:
                mode = str(self._patiently(db, "PRAGMA journal_mode = WAL").fetchone()[0])
                if mode != "wal":
                    raise BadURL(
                        f"{self.path} cannot be written ahead (its journal is {mode!r}): "
                        "put the file on a local disk"
                    )
                db.execute("PRAGMA busy_timeout = 0")
            except BaseException:
                db.close()
                raise
            self._writing = db
            self._checkpoints = False
        return self._writing

    def _patiently(
        self, db: sqlite3.Connection, statement: str, start: float | None = None
    ) -> sqlite3.Cursor:
        """Run what needs a lock. SQLite's own way to wait sleeps up to 100 ms, in which a busy file
        is given back and taken away many times; and it does not wait at all for a change to WAL.
        `start`: since when we have waited."""
        start = start or time.monotonic()
        while True:
            try:
                return db.execute(statement)
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - start
                if _primary(error) != sqlite3.SQLITE_BUSY or waited * 1000 > self._busy_ms:
                    raise
            time.sleep(SPIN_S if waited < PATIENCE_S else PATIENT_SPIN_S)

    def _commit(self, db: sqlite3.Connection) -> None:
        if self._line.is_first != self._checkpoints:
            self._checkpoints = self._line.is_first
            pages = CHECKPOINT_PAGES if self._checkpoints else 0
            db.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        self._end(db)

    def _end(self, db: sqlite3.Connection) -> None:
        try:
            db.execute("COMMIT")
        except BaseException as error:
            roll_back(db)
            if (
                isinstance(error, sqlite3.OperationalError)
                and _primary(error) == sqlite3.SQLITE_IOERR
            ):
                raise StoreUnavailable(
                    f"{self.path} could not be written ({error}): see to the disk, then try again",
                    outcome_unknown=True,
                ) from error
            raise

    @contextmanager
    def errors(self) -> Generator[None]:
        """SQLite's errors become wf's."""
        try:
            yield
        except sqlite3.Error as error:
            known = explain(error, self.path)
            if known is None:
                raise
            raise known from error


def explain(error: sqlite3.Error, path: Path) -> Error | None:
    """What went wrong, in wf's words, and what to do next; None where it is a mistake of wf's
    own."""
    code = _primary(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreUnavailable(
            f"{path} is locked by another process, which has been writing for long: "
            f"try again, or find it with `fuser {path}`"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"{path} cannot grow, the disk is full: make room, then try again")
    if code == sqlite3.SQLITE_NOTADB:
        return BadURL(f"{path} is not a SQLite database: name another file, or move it away")
    if code == sqlite3.SQLITE_CORRUPT:
        return BadURL(f"{path} is damaged ({error}): restore a backup, or try `sqlite3 … .recover`")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return BadURL(
            f"{path} cannot be written ({error}): "
            "give this user the right to write the file and its directory"
        )
    if code == sqlite3.SQLITE_CONSTRAINT and "this database" in str(error):
        return moved(str(error))
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailable(f"{path} cannot be read or written ({error}): see to the disk")
    return None


def moved(refusal: str) -> StoreMoved:
    """The error of a file that has gone to another database. `refusal`: what its triggers say, or
    how they are written."""
    said = refusal[refusal.index("this database") :].split("'); END", maxsplit=1)[0]
    end = "go there" if MOVED in said else "let `wf promote` come to its end, or give it again"
    return StoreMoved(f"{said}: {end}")


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")


def _check_place(path: Path, create: bool) -> None:
    """Raises BadURL where no database can be, with a better reason than SQLite would give."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise BadURL(f"SQLite {sqlite3.sqlite_version} is too old: this Python needs {needed}")
    parent = path.parent
    if path.is_dir():
        raise BadURL(f"{path} is a directory: name a file in it, like {path / 'wf.db'}")
    if not parent.is_dir():
        raise BadURL(f"{path} cannot be: make its directory first, with `mkdir -p {parent}`")
    filesystem = filesystem_of(parent)
    if filesystem in NETWORK:
        raise BadURL(
            f"{path} is on a network filesystem ({filesystem}), where SQLite loses data: "
            "use a local disk, or Postgres"
        )
    if not path.exists():
        if not create:
            made = f"wf db migrate --db {shlex.quote(str(path))}"
            raise BadURL(f"there is no database at {path}: name another, or make it: `{made}`")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise BadURL(f"{parent} cannot be written: give this user the right, or name another")
    elif not os.access(path, os.R_OK | os.W_OK) or not os.access(parent, os.W_OK):
        raise BadURL(
            f"{path} cannot be written: give this user the right to write it and its directory"
        )


def filesystem_of(directory: Path, mounts: str = "/proc/mounts") -> str:
    """The type of filesystem that a directory is on; "" where that cannot be known."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(directory)
    best, found = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = fields[1].replace("\\040", " ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= best:
            best, found = len(place), fields[2]
    return found


def _state(db: sqlite3.Connection) -> int:
    """The version of the schema; 0 where there is none yet."""
    names = {str(row[0]) for row in db.execute("SELECT name FROM sqlite_schema")}
    if MOVED_RUNS in names:
        asked = "SELECT sql FROM sqlite_schema WHERE name = ?"
        raise moved(str(db.execute(asked, (MOVED_RUNS,)).fetchone()[0]))
    if "meta" not in names:
        if names & {"runs", "events"}:
            raise BadURL("this database has tables of another program's: name another file")
        return 0
    try:
        row = db.execute("SELECT version FROM meta").fetchone()
    except sqlite3.OperationalError as error:
        raise BadURL("this database is of another program: name another file") from error
    if row is None:
        raise BadURL("this database was made only in part: move it away")
    if row[0] > SCHEMA_VERSION:
        raise StoreNewer(
            f"the database was made by a newer wf (schema {row[0]}, this one knows "
            f"{SCHEMA_VERSION}): upgrade wf-engine here"
        )
    return int(row[0])


def make_schema(db: sqlite3.Connection) -> None:
    """The whole schema, within a transaction; another process may have been faster."""
    if _state(db) == 0:
        script = Path(__file__).parent / "sql" / "head_sqlite.sql"
        for statement in script.read_text(encoding="utf-8").split(";\n"):
            db.execute(statement)


def _after_fork() -> None:
    for database in list(_databases):
        database._after_fork()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)
