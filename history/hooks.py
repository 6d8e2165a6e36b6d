"""Hook runs: a moment of a run that hooks are told of is a run of its own.

It is made in the transaction in which the moment happens, so that one exists if and only if the
other does. Mostly the worker makes it, which knows the code. A run that ends before its body began
(expired, canceled while it was queued) is ended by the store: there `runnables.hooks` tells which
ends of which task have hooks.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Final, NamedTuple

from wf.history.events import STORED, Status
from wf.history.ids import noisy_id, show
from wf.history.model import NewRun

SUFFIX: Final = ":hooks"
"""A task cannot be called so: ids have no colon."""

_LAST: Final = 0xFFF
"""12 bits of an id, so that those of one millisecond sort as things happened."""
STARTED, WAITING, RESUMED = "STARTED", "WAITING", "RESUMED"
"""The moments beside the ends of a run, which are called like their status."""


def task_of_hooks(task: str) -> str:
    """The task of the hook runs of a task's runs: a worker that knows the one knows the other."""
    return task + SUFFIX


def is_of_hooks(task: str) -> bool:
    return task.endswith(SUFFIX)


def bit(status: Status) -> int:
    """Of an end, in `runnables.hooks`."""
    return 1 << STORED[status]


class Subject(NamedTuple):
    """The run that hooks are told of."""

    id: bytes
    environment: str
    task: str
    root_id: bytes | None


def hook_run(
    of: Subject,
    moment: str,
    at: int,
    *,
    seq: int = 0,
    after: bytes | None = None,
) -> NewRun:
    """`seq`: which event of the run tells of the moment; 0: its end. `after`: the hook run of an
    earlier moment, which is waited for, so that hooks hear of things in their order.

    The store, which has no codec, makes such runs, too. So the payload holds ids and a moment, and
    nothing that is to be sealed: what hooks are told, they read from the run."""
    notice = {"run": show("run", of.id), "moment": moment}
    if after is not None:
        notice["after"] = show("run", after)
    source = b"hooks" + of.id + seq.to_bytes(4, "big")
    place = min(seq or _LAST, _LAST)
    return NewRun(
        id=noisy_id(at, place.to_bytes(2, "big") + blake2b(source, digest_size=8).digest()),
        environment=of.environment,
        task=task_of_hooks(of.task),
        payload=json.dumps(notice).encode(),
        created_at=at,
        parent_id=of.id,
        root_id=of.root_id or of.id,
    )
