"""What has no place in a task body, and what to write instead."""

from __future__ import annotations

import builtins
import datetime as dt
import os
import pathlib
import random
import secrets
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Rule:
    """`name`: stable, for reports and for `# wf: ignore[name]`."""

    name: str
    why: str
    instead: str


CLOCK: Final = Rule("clock", "reads the clock, and a replay reads another time", "wf.now()")
CHANCE: Final = Rule(
    "chance", "draws anew on every replay", "wf.random() or wf.uuid4(); secrets belong in a step"
)
SLEEP: Final = Rule("sleep", "blocks the worker and all its runs", "await wf.wait.for_(…)")
ENVIRONMENT: Final = Rule(
    "environment",
    "reads what differs between machines and deployments",
    "pass it in the payload, or read it in a @wf.step",
)
WORLD: Final = Rule(
    "world", "touches the world again on every replay", "move it into a @wf.step and await that"
)
THREAD: Final = Rule(
    "thread", "runs outside the history", "move it into a @wf.step (a plain def runs in a thread)"
)
INPUT: Final = Rule(
    "world", "asks again on every replay", "await wf.wait.for_token(…) or wf.wait.for_message(…)"
)
HASH: Final = Rule(
    "hash", "is another number in every process", "compare or sort by a value of your own"
)
SET_ORDER: Final = Rule(
    "set-order", "comes in another order in every process", "sorted(…), or a list or dict"
)
STATE: Final = Rule(
    "state",
    "is state of the process: a replay elsewhere finds another one",
    "keep it in a local variable, in the payload or in wf.metadata",
)
FN: Final = Rule(
    "fn", "runs the plain function, outside the history", "call the step itself, and await it"
)
NEVER_AWAITED: Final = Rule(
    "never-awaited", "is never awaited, so it never happens", "write `await` before it"
)
NEVER_YIELDED: Final = Rule(
    "never-awaited", "is never yielded, so it never happens", "write `yield from` before it"
)
FACTORY: Final = Rule(
    "chance",
    "gets a default that is another one on every replay",
    "give the value: wf.now(), wf.uuid4()",
)

RULES: Final = (
    *(CLOCK, CHANCE, SLEEP, ENVIRONMENT, WORLD, THREAD, HASH, SET_ORDER, STATE, FN),
    NEVER_AWAITED,
)
"""One of each name."""


def _named(owner: object, names: str) -> Iterable[Any]:
    return (getattr(owner, name) for name in names.split() if hasattr(owner, name))


_OBJECTS: Final[dict[Any, Rule]] = {
    **dict.fromkeys(
        _named(
            time,
            "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
            "localtime gmtime ctime asctime",
        ),
        CLOCK,
    ),
    **dict.fromkeys(_named(dt.datetime, "now utcnow today"), CLOCK),
    dt.date.today: CLOCK,
    time.sleep: SLEEP,
    **dict.fromkeys(
        _named(
            random,
            "random randint randrange choice choices sample shuffle uniform gauss triangular "
            "normalvariate expovariate betavariate getrandbits randbytes seed SystemRandom",
        ),
        CHANCE,
    ),
    **dict.fromkeys(
        _named(
            secrets,
            "token_hex token_bytes token_urlsafe choice randbelow randbits SystemRandom",
        ),
        CHANCE,
    ),
    **dict.fromkeys(_named(uuid, "uuid1 uuid4 getnode"), CHANCE),
    os.urandom: CHANCE,
    **dict.fromkeys(
        _named(os, "getenv getpid getppid getcwd uname cpu_count getlogin"), ENVIRONMENT
    ),
    builtins.open: WORLD,
    builtins.input: INPUT,
    builtins.id: HASH,
    builtins.hash: HASH,
    **dict.fromkeys(
        _named(
            pathlib.Path,
            "read_text read_bytes write_text write_bytes open exists is_file is_dir iterdir glob "
            "rglob stat unlink mkdir rmdir touch rename replace",
        ),
        WORLD,
    ),
    **dict.fromkeys(_named(pathlib.Path, "cwd home"), ENVIRONMENT),
}
_VALUES: Final[tuple[tuple[object, Rule], ...]] = (
    (os.environ, ENVIRONMENT),
    (sys.argv, ENVIRONMENT),
)
"""Where to look at them is enough."""

_MODULES: Final = {
    **dict.fromkeys(
        (
            *("requests", "httpx", "aiohttp", "urllib3", "urllib.request", "http.client"),
            *("socket", "_socket", "ssl", "smtplib", "ftplib", "imaplib", "poplib", "telnetlib"),
            *("subprocess", "shutil", "tempfile", "glob", "posix", "nt", "genericpath"),
            *("sqlite3", "_sqlite3", "psycopg", "psycopg2", "asyncpg", "pymongo", "redis"),
            *("boto3", "botocore", "sqlalchemy.engine", "sqlalchemy.orm", "asyncio.subprocess"),
            *("asyncio.streams",),
        ),
        WORLD,
    ),
    **dict.fromkeys(
        ("threading", "_thread", "multiprocessing", "concurrent.futures", "asyncio.threads"),
        THREAD,
    ),
    **dict.fromkeys(("platform", "getpass", "locale"), ENVIRONMENT),
}
"""Calls of what is defined in these, or below."""
_HARMLESS: Final = frozenset({os.fspath, os.fsencode, os.fsdecode, os.strerror})


def rule_of_call(called: object) -> Rule | None:
    """None: nothing is known against it."""
    try:
        if called in _HARMLESS:
            return None
        rule = _OBJECTS.get(called)
    except TypeError:  # it has no hash
        return None
    if rule is not None:
        return rule
    name: object = getattr(called, "__module__", None)
    while isinstance(name, str) and name:
        if name in _MODULES:
            return _MODULES[name]
        name = name.rpartition(".")[0]
    return None


def rule_of_value(value: object) -> Rule | None:
    return next((rule for known, rule in _VALUES if value is known), None)


def default_rule(kind: object) -> tuple[str, Rule] | None:
    """A field of a pydantic model or a dataclass whose default is drawn anew, and its name."""
    fields: dict[str, Any] = {
        **(getattr(kind, "__dataclass_fields__", None) or {}),
        **(getattr(kind, "__pydantic_fields__", None) or {}),
    }
    for name, field in fields.items():
        factory = getattr(field, "default_factory", None)
        if callable(factory) and rule_of_call(factory) in (CLOCK, CHANCE):
            return name, FACTORY
    return None
