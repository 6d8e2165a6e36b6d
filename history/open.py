"""From a URL to a store. Imports the one that it needs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from wf.history.errors import BadURL

if TYPE_CHECKING:
    from wf.history.sealing import Codec
    from wf.history.store import Store

_PASSWORD: Final = re.compile(r"(password=)[^&]*")
"""In the options of a URL."""


def open_store(url: str, *, create: bool = True, codec: Codec | None = None) -> Store:
    """`sqlite:///path` (relative; four slashes: absolute), a bare path, `postgresql://…`, `postgres://…`.
    codec: seals values on their way in.

    Raises BadURL, StoreNewer, StoreUnavailable.
    """
    store = _open(url, create)
    return store if codec is None else sealed(store, codec)


def sealed(store: Store, codec: Codec) -> Store:
    """That store, its values sealed."""
    from wf.history.sealed_store import SealedStore

    return SealedStore(store, codec)


def _open(url: str, create: bool) -> Store:
    scheme, found, _ = url.partition("://")
    if found and scheme in {"postgresql", "postgres"}:
        from wf.history.postgres import PostgresStore

        return PostgresStore(url, create=create)
    from wf.history.sqlite import SQLiteStore

    return SQLiteStore(sqlite_path(url), create=create)


def sqlite_path(url: str) -> Path:
    """The file that a SQLite URL or a bare path names."""
    scheme, found, rest = url.partition("://")
    if not found:
        path = url
    elif scheme != "sqlite":
        raise BadURL(
            f"{url!r} names no database: write sqlite:///path, a path, or postgresql://host/name"
        )
    elif not rest.startswith("/"):
        raise BadURL(f"{url!r} has two slashes: write sqlite:///{rest} for a relative path")
    else:
        path = rest[1:]
    if not path or path == ":memory:":
        raise BadURL(f"{url!r} names no file: write sqlite:///path, or a path")
    return Path(path).expanduser()


def shown(url: str) -> str:
    """A URL for other people's eyes and for the shell: no password in it, a path relative to here
    where it is below."""
    if url.startswith(("postgresql", "postgres")):
        password = urlsplit(url).password
        hidden = url.replace(f":{password}@", ":***@") if password else url
        return shlex.quote(_PASSWORD.sub(r"\1***", hidden))
    path = Path(url.removeprefix("sqlite:///") if url.startswith("sqlite:") else url)
    try:
        return shlex.quote(str(path.absolute().relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path.absolute()))
