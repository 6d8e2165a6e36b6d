"""Bounds of what is read at once that a test can reach."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from wf.history import blobs, handing, sqlite_claim
from wf.history import postgres_sql_workers as workers
from wf.history.limits import LOAD_BYTES, NEWS_BYTES


@contextmanager
def small_bounds(size: int) -> Generator[None]:
    """Histories, news and messages are handed out by so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs, "LOAD_BYTES", size)
        patch.setattr(handing, "NEWS_BYTES", size)
        patch.setattr(handing, "AHEAD_BYTES", size)
        for module, name, old in (
            (workers, "LOAD", LOAD_BYTES),
            (workers, "INBOXES", NEWS_BYTES),
            (workers, "OWNED_INBOXES", NEWS_BYTES),
            (sqlite_claim, "_UNREAD_END", NEWS_BYTES),
        ):
            text = getattr(module, name)
            assert str(old) in text
            patch.setattr(module, name, text.replace(str(old), str(size)))
        yield
