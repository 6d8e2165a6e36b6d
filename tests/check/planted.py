"""Lines that have no place in a task body, each with the rule that finds it, and its correct twin.

Each is the body of an async task with `order: Order`; `names` is a step that returns a set,
`charge` one that returns an int.
"""

from __future__ import annotations

from typing import Final

HEAD: Final = """
import asyncio, os, random, secrets, socket, sqlite3, subprocess, sys, threading, time, uuid
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime as when, timezone
from pathlib import Path
from pydantic import BaseModel, Field
import wf

SEEN: dict[str, int] = {}
QUEUE: list[int] = []
COUNT = 0
LIMIT = 3

class Order(BaseModel):
    id: int = 1
    tags: set[str] = set()

    def age(self) -> float:
        return time.time() - self.id

    def total(self) -> int:
        return self.id * 2

class Stamped(BaseModel):
    at: when = Field(default_factory=when.now)

@dataclass
class Keyed:
    key: str = field(default_factory=lambda: "k")
    noise: uuid.UUID = field(default_factory=uuid.uuid4)

class Clock:
    def now(self) -> int:
        return 7

    def random(self) -> int:
        return 7

@wf.step
async def charge(n: int) -> int:
    return random.randint(1, n) + int(time.time())

@wf.step
async def names() -> set[str]:
    return {"a", "b"}

@wf.task
async def child(n: int) -> int:
    return n

def helper() -> float:
    return deeper()

def deeper() -> float:
    return random.random()

def pure(numbers: list[int]) -> int:
    return sum(sorted(numbers))

@contextmanager
def timed() -> Iterator[None]:
    begun = time.monotonic()
    yield

clock = Clock()
"""

PLANTED: Final[list[tuple[str, str, str]]] = [
    ("clock", "at = when.now(timezone.utc)", "at = wf.now()"),
    ("clock", "at = time.time()", "at = wf.now().timestamp()"),
    ("clock", "day = date.today()", "day = wf.now().date()"),
    ("clock", "begun = time.perf_counter()", "begun = clock.now()"),
    ("clock", "from time import monotonic as m; begun = m()", "begun = clock.now()"),
    ("clock", "age = order.age()", "age = order.total()"),
    ("clock", "with timed(): await charge(1)", "await charge(1)"),
    ("chance", "n = random.choice([1, 2])", "n = wf.random().choice([1, 2])"),
    ("chance", "key = str(uuid.uuid4())", "key = str(wf.uuid4())"),
    ("chance", "key = secrets.token_hex()", "key = wf.uuid4().hex"),
    ("chance", "x = helper()", "x = clock.random()"),
    ("chance", "one = Stamped()", "one = Stamped(at=wf.now())"),
    ("chance", "one = Keyed(key='a')", "one = Keyed(noise=wf.uuid4())"),
    ("sleep", "time.sleep(1)", "await asyncio.sleep(1)"),
    ("environment", "region = os.environ['REGION']", "region = order.id"),
    ("environment", "region = os.getenv('REGION')", "limit = LIMIT"),
    ("environment", "first = sys.argv[1]", "first = [1][0]"),
    ("world", "with open('a') as f: text = f.read()", "text = str(await charge(1))"),
    ("world", "text = Path('a').read_text()", "name = Path('a').name"),
    ("world", "path = Path('a'); there = path.exists()", "path = Path('a'); there = path.suffix"),
    ("world", "os.remove('a')", "whole = os.path.join('a', 'b')"),
    ("world", "page = urllib.request.urlopen('http://a')", "page = await charge(2)"),
    ("world", "subprocess.run(['ls'])", "await charge(3)"),
    ("world", "db = sqlite3.connect('a')", "db = {'a': 1}"),
    ("world", "s = socket.socket()", "s = set(); n = len(s)"),
    ("thread", "threading.Thread(target=pure).start()", "n = pure([1])"),
    ("thread", "await asyncio.to_thread(pure, [1])", "await asyncio.gather(charge(1), charge(2))"),
    ("hash", "n = hash('a')", "n = len('a')"),
    ("hash", "n = id(order)", "n = order.id"),
    ("fn", "n = await charge.fn(1)", "n = await charge(1)"),
    ("state", "global COUNT; COUNT += 1", "count = COUNT + 1"),
    ("state", "SEEN['a'] = 1", "seen = dict(SEEN); seen['a'] = 1"),
    ("state", "QUEUE.append(1)", "queue = []; queue.append(1)"),
    ("state", "SEEN.setdefault('a', 1)", "wf.metadata.set('a', 1)"),
    ("never-awaited", "charge(1)", "await charge(1)"),
    ("never-awaited", "child.trigger(1)", "await child.trigger(1)"),
    ("never-awaited", "wf.wait.for_(days=1)", "await wf.wait.for_(days=1)"),
    ("never-awaited", "asyncio.sleep(1)", "later = [charge(1)]; await asyncio.gather(*later)"),
    (
        "set-order",
        "for n in await names(): await charge(len(n))",
        "for n in sorted(await names()): await charge(len(n))",
    ),
    (
        "set-order",
        "for tag in order.tags: await charge(len(tag))",
        "n = len(order.tags) + sum(len(t) for t in order.tags)",
    ),
    (
        "set-order",
        "found = await names(); await charge(len(list(found)[0]))",
        "found = await names(); await charge(len(min(found)))",
    ),
    (
        "set-order",
        "await asyncio.gather(*[charge(len(n)) for n in {'a', 'b'}])",
        "await asyncio.gather(*[charge(len(n)) for n in ['a', 'b']])",
    ),
    ("set-order", "text = ','.join({'a', 'b'})", "text = ','.join(sorted({'a', 'b'}))"),
    (
        "set-order",
        "both = {'a': 1}.keys() & {'b': 1}.keys()\n    for k in both: await charge(1)",
        "for k in {'a': 1, 'b': 2}: await charge(1)",
    ),
    ("set-order", "one = {'a', 'b'}.pop()", "one = ['a', 'b'].pop()"),
    ("set-order", "a = {n: 1 for n in frozenset('ab')}", "a = {n for n in frozenset('ab')}"),
]
"""(rule, line, twin)"""
