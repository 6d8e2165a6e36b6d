"""Values in a saved history that nobody is to see, replaced by others of the same type and shape.

A text keeps its length and its punctuation, its letters become `a` and its digits `1`: so an
address still looks like one, and a date, an id or a decimal can still be read. Numbers keep their
digits' count, flags become false, null stays, lists and objects keep their items. What was found
under a name is then replaced wherever else it stands in a text: in what steps made of it, in
messages of errors, in tags.

The body gets other arguments from other values, so digests cannot be compared any more: they become
UNKNOWN_DIGEST, which fits any. Where the body branches on a value that was replaced, it may not fit
its history any more; a replay tells.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, cast

from wf.history.blobs import GET, PUT, Blobs, is_reference
from wf.history.ends import End, ends_of, page
from wf.history.events import UNKNOWN_DIGEST, Kind
from wf.history.sealing import Sealing, check_open, is_sealed

Redact = Callable[[tuple[str, ...], Any], Any]
"""Is asked for each value, the outer ones first: its path (what it is, then the keys that lead to
it), and the value. Answers what is to stand there: the value itself, where it may stay."""
MIN_SECRET: Final = 3
"""A text that was replaced is looked for elsewhere if it is so long: shorter ones are in many."""
_IDS: Final = (
    *(Kind.CHILD_TRIGGERED, Kind.CHILD_AWAITED, Kind.CHILD_STARTED, Kind.TOKEN_CREATED),
    *(Kind.TOKEN_AWAITED, Kind.MESSAGE_SENT, Kind.FORKED, Kind.BATCH_TRIGGERED),
    *(Kind.BATCH_STARTED, Kind.BATCH_AWAITED, Kind.HOOKED),
)
_DIGESTS: Final = (
    *(Kind.STEP_STARTED, Kind.STEP_FINISHED, Kind.STEP_FAILED, Kind.STEP_ATTEMPT_FAILED),
    *(Kind.CHILD_TRIGGERED, Kind.BATCH_TRIGGERED, Kind.TOKEN_CREATED, Kind.MESSAGE_SENT),
    *(Kind.RESTARTED, Kind.STARTED),
)
"""Rows whose digest is of a value, and STARTED, which stands for the run's own."""


def fields(names: Iterable[str]) -> Redact:
    """Masks what stands under these names: a key at any depth (`email`), several in a row
    (`user.email`), or what a value is: `payload`, `output`, `metadata`, `token`, the name of a
    step, a message or a stream (`charge`, `charge.card`)."""
    wanted = [tuple(name.replace("_", "-").split(".")) for name in names]

    def redact(path: tuple[str, ...], value: Any) -> Any:
        ids = tuple(key.replace("_", "-") for key in path)
        is_named = any(ids[-len(name) :] == name for name in wanted)
        return mask(value) if is_named else value

    return redact


def mask(value: Any) -> Any:
    """Another value of the same type and shape."""
    match value:
        case bool():
            return False
        case int() | float():
            return type(value)(re.sub(r"\d", "1", repr(value)))
        case str() if _MOMENT.match(value):
            return re.sub(r"\d", "1", value)
        case str():
            return "".join(map(_other, value))
        case list():
            return [mask(item) for item in cast("list[Any]", value)]
        case dict():
            return {key: mask(item) for key, item in cast("dict[str, Any]", value).items()}
        case _:
            return value


_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d|$)")
"""Of a date or a moment the digits alone are replaced."""


def _other(letter: str) -> str:
    if letter.isdigit():
        return "1"
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return letter


def redact_file(file: Path, redact: Redact, sealing: Sealing | None = None) -> bool:
    """Replace values in a file of `export`; nothing of the old ones is left in it. False: nothing
    was to be replaced.

    Raises CodecError where a value is sealed and cannot be opened.
    """
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        values = _Values(db, redact, sealing)
        db.execute("BEGIN IMMEDIATE")
        for _ in values.rows():  # which texts are secrets, everywhere
            pass
        has_changed = values.has_changed
        for table, key, owner, changed in values.rows():
            values.write(table, key, owner, changed)
        values.forget()
        if has_changed:
            kinds = ", ".join(str(int(kind)) for kind in _DIGESTS)
            db.execute(f"UPDATE events SET digest = {UNKNOWN_DIGEST} WHERE kind IN ({kinds})")
        db.execute("COMMIT")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return has_changed


_JSON: Final[Mapping[str, tuple[str, ...]]] = {
    "runs": ("payload", "output", "failure", "options"),
    "notes": ("metadata",),
    "tokens": ("data",),
}
_TEXT: Final[Mapping[str, tuple[str, ...]]] = {
    "runs": ("tags", "key", "idempotency_key"),
    "notes": ("tags",),
    "tokens": ("tags", "idempotency_key"),
    "blocked": ("detail",),
}
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "runs": ("id",),
    "notes": ("run_id",),
    "tokens": ("id",),
    "blocked": ("run_id",),
    "events": ("run_id", "chapter", "seq"),
    "streams": ("run_id", "name", "seq"),
}

_Row = tuple[str, tuple[Any, ...], bytes, dict[str, Any]]
"""Table, key, owner of its large values, and columns that are to be written."""


class _Values:
    """All values of a file."""

    def __init__(self, db: sqlite3.Connection, redact: Redact, sealing: Sealing | None) -> None:
        self.has_changed = False
        self._db = db
        self._redact = redact
        self._sealing = sealing
        self._secrets: dict[str, str] = {}
        self._old: set[bytes] = set()

    def rows(self) -> Iterator[_Row]:
        """Those with something to replace, by the secrets that are known so far."""
        for table, key in _KEYS.items():
            if table == "events":
                yield from self._events()
            elif table == "streams":
                yield from self._streams()
            else:
                yield from self._plain(table, key)

    def write(
        self, table: str, key: tuple[Any, ...], owner: bytes, changed: dict[str, Any]
    ) -> None:
        blobs = Blobs()
        kept = {
            name: blobs.put(owner, value) if isinstance(value, bytes) else value
            for name, value in changed.items()
        }
        where = " AND ".join(f"{name} = ?" for name in _KEYS[table])
        for name, value in kept.items():
            asked = f"SELECT {name} FROM {table} WHERE {where}"
            (old,) = self._db.execute(asked, key).fetchone()
            self._db.execute(f"UPDATE {table} SET {name} = ? WHERE {where}", (value, *key))
            if isinstance(old, bytes) and is_reference(old):
                self._old.add(old)
        self._db.executemany(PUT, blobs.rows)

    def forget(self) -> None:
        """The large values that were replaced, and stand nowhere any more."""
        holders = (("events", "data"), ("streams", "data"), ("tokens", "data"))
        of_runs = (("runs", "payload"), ("runs", "output"), ("runs", "failure"))
        unused = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {table} WHERE {column} = b.reference)"
            for table, column in (*holders, *of_runs)
        )
        for old in self._old:
            self._db.execute(f"DELETE FROM blobs AS b WHERE b.reference = ? AND {unused}", (old,))

    def _plain(self, table: str, key: tuple[str, ...]) -> Iterator[_Row]:
        json_columns, texts = _JSON.get(table, ()), _TEXT.get(table, ())
        names = ", ".join((*key, *json_columns, *texts))
        for row in self._db.execute(f"SELECT {names} FROM {table}").fetchall():
            changed: dict[str, Any] = {}
            values = row[len(key) :]
            for name, value in zip((*json_columns, *texts), values, strict=True):
                if value is None:
                    continue
                what = "token" if table == "tokens" else name
                new = self._value((what,), value) if name in json_columns else self._text(value)
                if new != value:
                    changed[name] = new
            if changed:
                yield table, row[: len(key)], row[0], changed

    def _events(self) -> Iterator[_Row]:
        columns = "run_id, chapter, seq, kind, ordinal, name, data"
        asked = f"SELECT {columns} FROM events ORDER BY run_id, chapter, seq"
        names: dict[tuple[bytes, int], str] = {}
        for run_id, chapter, seq, kind, ordinal, name, data in self._db.execute(asked).fetchall():
            if name and kind not in (Kind.CHILD_ENDED, Kind.TOKEN_ENDED):
                names.setdefault((run_id, ordinal), name)
            if data is None or kind in _IDS:
                continue
            what = names.get((run_id, ordinal), "token" if kind == Kind.TOKEN_ENDED else "")
            path = ("payload",) if kind == Kind.STARTED else (what,)
            new = self._page(path, data) if kind == Kind.BATCH_ENDED else self._value(path, data)
            if new != data:
                yield "events", (run_id, chapter, seq), run_id, {"data": new}

    def _streams(self) -> Iterator[_Row]:
        for run_id, name, seq, data in self._db.execute(
            "SELECT run_id, name, seq, data FROM streams"
        ).fetchall():
            new = self._value((name,), data)
            if new != data:
                yield "streams", (run_id, name, seq), run_id, {"data": new}

    # -- one value

    def _page(self, path: tuple[str, ...], data: bytes) -> bytes:
        opened = self._opened(data)
        ends = [one._replace(data=self._json(path, one.data)) for one in ends_of(opened)]
        new = page([End(*one) for one in ends])
        return data if new == opened else self._sealed(new, data)

    def _value(self, path: tuple[str, ...], data: bytes | None) -> bytes | None:
        if data is None:
            return None
        opened = self._opened(data)
        new = self._json(path, opened)
        return data if new is opened or new is None else self._sealed(new, data)

    def _json(self, path: tuple[str, ...], data: bytes | None) -> bytes | None:
        if data is None:
            return None
        value = json.loads(data)
        new = self._walk(path, value)
        return data if new == value else json.dumps(new, ensure_ascii=False).encode()

    def _walk(self, path: tuple[str, ...], value: Any) -> Any:
        new = self._redact(path, value)
        if new is not value and new != value:
            self.has_changed = True
            self._learn(value, new)
            return new
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {key: self._walk((*path, key), item) for key, item in items}
        if isinstance(value, list):
            return [self._walk(path, item) for item in cast("list[Any]", value)]
        return self._text(value) if isinstance(value, str) else value

    def _learn(self, value: Any, new: Any) -> None:
        if isinstance(value, str) and isinstance(new, str):
            if len(value) >= MIN_SECRET and value != new:
                self._secrets[value] = new
        elif isinstance(value, dict) and isinstance(new, dict):
            others = cast("dict[str, Any]", new)
            for key, item in cast("dict[str, Any]", value).items():
                self._learn(item, others.get(key))
        elif isinstance(value, list) and isinstance(new, list):
            for one, other in zip(cast("list[Any]", value), cast("list[Any]", new), strict=False):
                self._learn(one, other)

    def _text(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, self._secrets[secret])
        return text

    def _opened(self, data: bytes) -> bytes:
        if is_reference(data):
            found = self._db.execute(GET, (data,)).fetchone()
            data = data if found is None else bytes(found[0])
        opened = self._sealing.open(data) if self._sealing is not None else data
        check_open(opened, "a value that is to be redacted")
        return bytes(opened)

    def _sealed(self, new: bytes, old: bytes) -> bytes:
        found = self._db.execute(GET, (old,)).fetchone() if is_reference(old) else (old,)
        was_sealed = found is not None and is_sealed(bytes(found[0]))
        return self._sealing.seal(new) if was_sealed and self._sealing is not None else new
