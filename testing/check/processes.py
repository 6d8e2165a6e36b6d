"""Every history, in processes of their own, each with another seed for hashes: an order that comes
from a set differs between them, as it does between workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

from wf.history.errors import CannotLoad
from wf.testing.check.gate import Misfit

SEEDS: Final = ("0", "1", "2")
"""Of three processes two agree by chance on the order of a set of two in one case of four; of a
larger one hardly ever."""
SILENCE_SECONDS: Final = 60.0
"""A run that is not replayed within this blocks its worker: 50,000 facts take half a second."""


@dataclass(slots=True)
class Asked:
    """What is replayed. `ended`: runs that have ended, too."""

    targets: Sequence[str]
    databases: Sequence[str]
    environment: str
    ended: bool


@dataclass(slots=True)
class Checked:
    """`runs`: how many were replayed under every seed."""

    runs: int = 0
    misfits: list[Misfit] = field(default_factory=list[Misfit])


def check_histories(asked: Asked) -> Checked:
    """Raises CannotLoad where the code cannot be imported, and what opening a database raises."""
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        results = list(pool.map(partial(_all_under, asked), SEEDS))
    begun = {one["begun"] for one in results[0] if "begun" in one}
    found: dict[str, dict[str, Misfit]] = {}
    for seed, told in zip(SEEDS, results, strict=True):
        for one in told:
            if "reason" in one:
                found.setdefault(one["run"], {})[seed] = Misfit(**one)
    return Checked(len(begun), [_together(by_seed) for by_seed in found.values()])


def _together(by_seed: dict[str, Misfit]) -> Misfit:
    first = next(iter(by_seed.values()))
    if len(by_seed) == len(SEEDS):
        return first
    seeds = ", ".join(by_seed)
    told = f"only where PYTHONHASHSEED is {seeds}: the order of a set decides something here\n"
    return replace(first, detail=told + first.detail)


def _all_under(asked: Asked, seed: str) -> list[dict[str, Any]]:
    return list(_under(seed, asked))


def _under(seed: str, asked: Asked) -> Iterator[dict[str, Any]]:
    """What a process tells; where one is lost over a run, the next goes on behind that run."""
    database, before, task = 0, "", ""
    while True:
        child = _Child(seed, asked, database, before)
        is_under_way = False
        for told in child.lines():
            is_under_way = "begun" in told
            if "database" in told:
                database, before = told["database"], ""
            elif "begun" in told:
                before, task = told["begun"], told["task"]
            yield told
        if child.has_blocked and is_under_way:
            detail = f"its body computes on and on: it was stopped after {SILENCE_SECONDS:.0f} s"
            yield {"run": before, "task": task, "reason": "blocks", "detail": detail}
        elif child.code and is_under_way:
            detail = f"it ends the process that replays it (exit code {child.code})"
            yield {"run": before, "task": task, "reason": "crashes", "detail": detail}
        elif child.code:
            raise CannotLoad(f"the code cannot be replayed: {child.last_words}")
        else:
            return


class _Child:
    """One process."""

    def __init__(self, seed: str, asked: Asked, database: int, before: str) -> None:
        read, write = os.pipe()
        self.has_blocked = False
        self.code = 0
        self._stderr = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wf.testing.check.child"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            pass_fds=(write,),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(write)
        self._told: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        Thread(target=self._read, args=(read,), daemon=True).start()
        Thread(target=self._drain, daemon=True).start()
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            stdin.write(
                json.dumps(
                    {
                        "targets": list(asked.targets),
                        "databases": list(asked.databases),
                        "environment": asked.environment,
                        "ended": asked.ended,
                        "database": database,
                        "before": before,
                        "tell": write,
                    }
                ).encode()
            )

    def lines(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                told = self._told.get(timeout=SILENCE_SECONDS)
            except Empty:
                self.has_blocked = True
                self._process.kill()
                told = None
            if told is None:
                self.code = self._process.wait()
                return
            yield told

    @property
    def last_words(self) -> str:
        """Why it ended before any run."""
        if self.has_blocked:
            return f"importing it took longer than {SILENCE_SECONDS:.0f} s"
        said = self._stderr.decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"it ended with exit code {self.code}"

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor) as lines:
            for line in lines:
                self._told.put(json.loads(line))
        self._told.put(None)

    def _drain(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr = (self._stderr + line)[-STDERR_BYTES:]


STDERR_BYTES: Final = 65_536
"""Kept of what it says on standard error: the last line tells why it ended."""
