"""What a command costs before anything is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import ROOT, Bench
from benchmarks.figures import Figure, part, seconds

HELLO = ROOT / "benchmarks" / "hello.py"
TRIES = 5


def starts(bench: Bench) -> Iterator[Figure]:
    """A cold start: `wf run` of a hello task, the whole process.

    On a database that is not there yet, then on one that is; the process's own peak of memory; and
    `wf --help`."""
    took = [_hello(bench.url)]
    yield Figure("G", "new database", took[0][0], "s", is_paranoid=True)
    took = [_hello(bench.url) for _ in range(1 if bench.is_short else TRIES)]
    yield Figure("G", "old database", part([one for one, _ in took], 0.5), "s", is_paranoid=True)
    yield Figure("G", "memory", max(peak for _, peak in took), "MB", is_paranoid=True)
    helped = [seconds(lambda: _wf("--help")) for _ in range(1 if bench.is_short else TRIES)]
    yield Figure("G", "wf --help", part(helped, 0.5), "s")


def _hello(url: str) -> tuple[float, float]:
    """Seconds, MB."""
    said: list[str] = []
    took = seconds(lambda: said.append(_wf("run", str(HELLO), "--json", "--db", url)))
    found = re.search(r"^peak (\S+)$", said[0], re.MULTILINE)
    assert found, said[0]
    return took, float(found[1])


def _wf(*words: str) -> str:
    """What the command prints. `wf` as it is installed: its start is a part of what is measured."""
    command = Path(sys.executable).with_name("wf")
    done = subprocess.run([command, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"wf {json.dumps(words)}: {done.stderr}")
    return done.stdout + done.stderr
